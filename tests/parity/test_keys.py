import json
from dataclasses import replace
from random import Random

import pytest
import trio

from bff.model import Down
from bff.stores.keys import (
    Busy,
    Claimed,
    Claiming,
    InFlight,
    KeptAnswer,
    KeyId,
    Outcomes,
    Recorded,
    Recording,
    Reused,
    Spent,
    Unsettled,
)
from bff.stores.mirrors import Mirror
from bff.stores.outbox import Letter
from nurseries import Unbounded, within

ANSWER = KeptAnswer(201, b'{"id":"c1"}\x00\xff', "application/json", (("location", "/v1/x"), ("x-odd", 'a"\u00e9')))
LEASE = 10.0
DAY = 86_400.0


def claiming(key="k1", *, tenant="resort", operator="ann", aggregates=("room:1",), body=b"b", **more):
    more = {"lease": LEASE, **more}
    return Claiming(KeyId(tenant, operator, key), b"hash of " + body, aggregates, b"request " + body, **more)


def recording(asked, fence=1, state="recorded", **more):
    return Recording(asked.id, fence, state, answer=ANSWER if state == "recorded" else None, **more)


async def entries(ledger, tenant="resort"):
    return [row.entry for row in await ledger.trail(tenant, after=0, limit=1000)]


async def at_once(verb, several):
    """What each is answered."""
    answers = []

    async def ask(one):
        answers.append(await verb(one))

    async with trio.open_nursery() as nursery:
        for one in several:
            nursery.start_soon(ask, one)
    return answers


def kinds(answers):
    return {kind.__name__: [type(answer) for answer in answers].count(kind) for kind in set(map(type, answers))}


async def test_of_32_who_claim_one_key_at_once_exactly_one_has_it_f32(ledger):
    asked = claiming(intent='{"kind": "intent"}')
    with trio.fail_after(5):
        answers = await at_once(ledger.claim, [asked] * 32)
        assert kinds(answers) == {"Claimed": 1, "InFlight": 31}
        assert Claimed(1, "new") in answers
        assert all(LEASE - 3 < answer.seconds <= LEASE for answer in answers if isinstance(answer, InFlight))
        assert len(await entries(ledger)) == 1, "and one intent is written"


async def test_of_two_who_bring_one_key_to_different_things_at_once_one_has_it_and_the_other_is_told(ledger):
    with trio.fail_after(5):
        await at_once(ledger.spent_on, ["a1"] * 8)  # from now on nobody waits for a connection to be made
        for number in range(20):
            one = claiming(f"k{number}", aggregates=(f"a:{number}",))
            other = claiming(f"k{number}", aggregates=(f"b:{number}",), body=b"other")
            answers = kinds(await at_once(ledger.claim, [one, other, one, other]))
            assert answers == {"Claimed": 1, "InFlight": 1, "Reused": 2}


async def test_of_32_who_bring_one_attestation_for_different_keys_exactly_one_spends_it_f29(ledger):
    several = [claiming(f"k{n}", aggregates=(f"lock:{n}",), attestation="a1") for n in range(32)]
    with trio.fail_after(5):
        answers = await at_once(ledger.claim, several)
        assert kinds(answers) == {"Claimed": 1, "Spent": 31}
        assert isinstance(await ledger.claim(claiming("later", operator="bob", attestation="a1")), Spent)
        winner = several[[type(await ledger.claim(one)) for one in several].index(InFlight)]
        assert await ledger.spent_on("a1") == winner.id
        assert await ledger.spent_on("a2") is None
        assert len(await ledger.unsettled(older_than=-1, limit=100)) == 0, "a refused one leaves nothing"


async def test_of_an_operator_s_mutations_of_one_aggregate_one_is_in_flight_at_a_time(ledger):
    several = [claiming(f"k{n}", aggregates=("room:1", f"room:{n + 2}")) for n in range(32)]
    with trio.fail_after(5):
        answers = await at_once(ledger.claim, several)
        assert kinds(answers) == {"Claimed": 1, "Busy": 31}
        assert all(LEASE - 3 < answer.seconds <= LEASE for answer in answers if isinstance(answer, Busy))
        first = several[[type(await ledger.claim(one)) for one in several].index(InFlight)]
        others = [claiming("x", operator="bob"), claiming("x", tenant="city"), claiming("x", aggregates=("room:99",))]
        assert await at_once(ledger.claim, others) == [Claimed(1, "new")] * 3
        assert await ledger.record(recording(first, state="uncertain"))
        assert kinds(await at_once(ledger.claim, several)) == {"Claimed": 1, "Busy": 31}, "nobody is at it any more"


async def test_whoever_changes_the_same_things_in_whatever_order_nobody_waits_in_a_circle(ledger):
    chance, rooms, done = Random(5), [f"room:{n}" for n in range(4)], []

    async def mutate(number):
        asked = claiming(f"k{number}", aggregates=tuple(chance.sample(rooms, 3)), intent=intent(f"k{number}"))
        while isinstance(answer := await ledger.claim(asked), Busy):
            pass
        assert answer == Claimed(1, "new")
        assert await ledger.record(recording(asked, trail=(outcome(f"k{number}"),), letters=(letter(f"k{number}"),)))
        done.append(asked.id.key)

    with trio.fail_after(8):
        await at_once(mutate, range(24))
        rows = [json.loads(entry) for entry in await entries(ledger)]
    assert sorted(done) == sorted(f"k{n}" for n in range(24))
    assert [(row["kind"], row["key"]) for row in rows[::2]] == [("intent", row["key"]) for row in rows[1::2]]


def intent(key, operator="ann"):
    return json.dumps({"kind": "intent", "operator": operator, "key": key})


def outcome(key, operator="ann", said="success"):
    return json.dumps({"kind": "outcome", "operator": operator, "key": key, "outcome": said})


def letter(name):
    return Letter("board-changed", "resort", "board-changed", b'{"id": 1}', f"m-{name}")


async def test_an_answer_is_replayed_to_the_byte_and_a_key_is_for_one_thing_f32(ledger):
    asked = claiming()
    with trio.fail_after(5):
        assert await ledger.claim(asked) == Claimed(1, "new")
        assert isinstance(await ledger.claim(claiming(body=b"other")), Reused)
        assert await ledger.record(recording(asked)) is True
        for later in (asked, replace(asked, attestation="a2", intent=intent("k1")), claiming(aggregates=("room:9",))):
            assert await ledger.claim(later) == Recorded(ANSWER)
        assert await ledger.claim(claiming(body=b"other")) == Reused()
        assert await ledger.spent_on("a2") is None
        assert await entries(ledger) == []


async def test_the_first_reason_to_refuse_is_the_one_that_is_said(ledger):
    """Another body; an answer; in flight; a busy aggregate; a spent second factor."""
    held, other = claiming("held"), claiming("other", aggregates=("room:2",), attestation="spent")
    with trio.fail_after(5):
        assert await at_once(ledger.claim, [held, other]) == [Claimed(1, "new")] * 2
        both = ("room:1", "room:2")
        assert isinstance(await ledger.claim(replace(held, aggregates=both, fingerprint=b"x")), Reused)
        assert isinstance(await ledger.claim(replace(held, aggregates=both, attestation="spent")), InFlight)
        third = claiming("third", attestation="spent")
        assert isinstance(await ledger.claim(third), Busy)
        assert await ledger.record(recording(held, state="open"))
        assert isinstance(await ledger.claim(third), Spent)
        assert isinstance(await ledger.claim(replace(held, attestation="spent")), Claimed), "his key is not new"


async def test_a_second_owner_is_never_overwritten_by_the_first_f32(ledger_and_faults, clock):
    ledger, faults = ledger_and_faults
    asked = claiming("k1", intent=intent("k1"), abandoned=outcome("k1", said="uncertain"), aggregates=("lock:1",))
    late = {"trail": (outcome("k1", said="late"),), "letters": (letter("late"),)}
    with within(100):
        assert await ledger.claim(asked) == Claimed(1, "new")
        await faults.time_goes_by(LEASE + 1)
        assert await ledger.claim(claiming("k2", aggregates=("lock:1",))) == Claimed(1, "new"), "nobody is at it"
        assert await ledger.record(recording(claiming("k2"), state="open"))
        assert await ledger.claim(asked) == Claimed(2, "abandoned")
        assert isinstance(await ledger.claim(asked), InFlight)
        for state in ("recorded", "uncertain", "open"):
            assert await ledger.record(recording(asked, 1, state, **late)) is False
        assert await ledger.record(recording(asked, 3)) is False, "a fence that nobody was given"
        assert await ledger.record(recording(claiming("never"))) is False
        what = recording(asked, 2, trail=(outcome("k1"),), letters=(letter("k1"),))
        assert [await ledger.record(what) for _ in range(3)] == [True] * 3, "who did not hear so asks again"
        assert await ledger.record(recording(asked, 2, "uncertain", **late)) is False
        assert await ledger.record(replace(what, answer=replace(ANSWER, status=202))) is False
        assert await ledger.claim(asked) == Recorded(ANSWER)
        assert await entries(ledger) == [asked.intent, asked.abandoned, asked.intent, outcome("k1")]
        assert [waiting.letter for waiting in await ledger.next_letters(limit=9)] == [letter("k1")]


async def test_a_late_record_counts_while_nobody_has_taken_over(ledger_and_faults, clock):
    ledger, faults = ledger_and_faults
    with within(100):
        assert await ledger.claim(claiming()) == Claimed(1, "new")
        await faults.time_goes_by(LEASE + 1)
        assert await ledger.record(recording(claiming())) is True
        assert await ledger.claim(claiming()) == Recorded(ANSWER)


@pytest.mark.parametrize("state", ["open", "uncertain"])
async def test_who_said_what_became_of_it_has_abandoned_nothing(ledger_and_faults, clock, state):
    ledger, faults = ledger_and_faults
    asked = claiming(intent=intent("k1"), abandoned=outcome("k1", said="abandoned"), attestation="a1")
    with within(100):
        assert await ledger.claim(asked) == Claimed(1, "new")
        assert await ledger.record(recording(asked, 1, state, trail=(outcome("k1", said=state),)))
        await faults.time_goes_by(LEASE + 1)
        other = "uncertain" if state == "open" else "open"
        assert await ledger.record(recording(asked, 1, other)) is False, "it was said already, and otherwise"
        assert await ledger.claim(replace(asked, attestation="a2")) == Claimed(2, state)
        assert await entries(ledger) == [intent("k1"), outcome("k1", said=state), intent("k1")]
        assert (await ledger.spent_on("a1"), await ledger.spent_on("a2")) == (asked.id, None)


async def test_what_belongs_to_a_change_is_written_with_its_record(ledger):
    asked = claiming(aggregates=("preferences:ann",))
    mirror = Mirror("resort", "ann", 3, b'{"dark":true}', 1_439_622_000.25)
    letters = (letter("b"), letter("a"))
    what = recording(asked, trail=(outcome("k1"), intent("k1")), letters=letters, mirror=mirror)
    with trio.fail_after(5):
        assert await ledger.claim(asked) == Claimed(1, "new")
        assert (await entries(ledger), await ledger.mirrored("resort", "ann")) == ([], None)
        assert await ledger.record(what)
        assert await entries(ledger) == [outcome("k1"), intent("k1")]
        assert await ledger.mirrored("resort", "ann") == mirror
        assert [waiting.letter for waiting in await ledger.next_letters(limit=9)] == list(letters)


async def test_what_nobody_knows_is_found_eldest_first(ledger_and_faults, clock):
    ledger, faults = ledger_and_faults
    several = [claiming(f"k{n}", aggregates=(f"room:{n}", "b"), operator=f"o{n}") for n in range(5)]
    with within(100):
        for asked, state in zip(several, ("uncertain", None, "open", "recorded", "uncertain"), strict=True):
            assert await ledger.claim(asked) == Claimed(1, "new")
            assert state is None or await ledger.record(recording(asked, 1, state))
            await faults.time_goes_by(2)

        async def found(older_than, limit=9):
            return [(one.id.key, one.before) for one in await ledger.unsettled(older_than=older_than, limit=limit)]

        assert await found(0) == [("k0", "uncertain"), ("k4", "uncertain")], "k1 has its lease still"
        assert await found(9) == [("k0", "uncertain")]
        await faults.time_goes_by(5)
        assert await found(30) == [("k1", "abandoned")], "however old it is"
        assert await found(0) == [("k0", "uncertain"), ("k1", "abandoned"), ("k4", "uncertain")]
        assert await found(0, limit=2) == [("k0", "uncertain"), ("k1", "abandoned")]
        assert await ledger.claim(several[0]) == Claimed(2, "uncertain")
        assert await ledger.record(recording(several[0], 2, "uncertain"))
        *_, last = await ledger.unsettled(older_than=-1, limit=9)
    asked = several[0]
    age = pytest.approx(0, abs=3)
    assert last == Unsettled(asked.id, asked.fingerprint, asked.aggregates, asked.request, "uncertain", age, 2)


async def test_only_what_is_old_and_certain_is_forgotten_a_few_at_a_time(ledger_and_faults, clock):
    ledger, faults = ledger_and_faults
    states = ("recorded", "open", "uncertain", None, "recorded")
    several = [claiming(f"k{n}", aggregates=(f"r:{n}",), attestation=f"a{n}") for n in range(len(states))]
    with within(9 * DAY):
        for asked, state in zip(several, states, strict=True):
            await ledger.claim(asked)
            assert state is None or await ledger.record(recording(asked, 1, state))
        await faults.time_goes_by(8 * DAY)
        young = claiming("young", attestation="young")
        await ledger.claim(young)
        assert await ledger.record(recording(young))
        assert await ledger.trim_keys(older_than=8 * DAY + 60, limit=9) == 0
        assert [await ledger.trim_keys(older_than=8 * DAY - 60, limit=2) for _ in range(3)] == [2, 1, 0]
        assert [await ledger.spent_on(f"a{n}") for n in range(5)] == [None, None, several[2].id, several[3].id, None]
        assert await ledger.spent_on("young") == young.id
        again = [await ledger.claim(asked) for asked in (*several, young)]
    new = Claimed(1, "new")
    assert again == [new, new, Claimed(2, "uncertain"), Claimed(2, "abandoned"), new, Recorded(ANSWER)]


async def test_a_ledger_that_is_down_says_so_and_no_verb_waits_without_a_deadline_f20_f33(ledger_and_faults):
    ledger, faults = ledger_and_faults
    asked = claiming(attestation="a1")
    verbs = [
        lambda: ledger.claim(asked),
        lambda: ledger.record(recording(asked)),
        lambda: ledger.spent_on("a1"),
        lambda: ledger.unsettled(older_than=0, limit=9),
        lambda: ledger.trim_keys(older_than=0, limit=9),
        lambda: ledger.add_to_trail("resort", ("{}",)),
        lambda: ledger.trail("resort", after=0, limit=9),
        ledger.ends_of_trails,
        lambda: ledger.checkpoints("resort"),
        lambda: ledger.lock_completeness(grace=1),
    ]
    for verb in verbs:
        with pytest.raises(Unbounded):
            await verb()
    kept = claiming("kept", aggregates=("room:2",))
    with trio.fail_after(8):
        assert await ledger.claim(kept) == Claimed(1, "new")
        assert await ledger.record(recording(kept))
        faults.down()
        assert {type(await verb()) for verb in verbs} == {Down}
        await faults.start(ledger.ping)
        assert await ledger.claim(kept) == Recorded(ANSWER)
        assert await ledger.claim(asked) == Claimed(1, "new")


async def test_what_became_of_keys_is_told_by_action_from_a_moment_on_f32(ledger):
    refused = replace(ANSWER, status=409)

    async def done(key, action, state="recorded", answer=ANSWER):
        request = b'{"action":"%s","body":{"description":"\\"action\\":\\"x\\" \xc3\xa9"}}' % action.encode()
        asked = replace(claiming(key, aggregates=(f"folio:{key}",)), request=request)
        assert await ledger.claim(asked) == Claimed(1, "new")
        if state != "in-flight":
            given = answer if state == "recorded" else None
            assert await ledger.record(Recording(asked.id, 1, state, answer=given)) is True
        return asked

    with trio.fail_after(5):
        begun = await ledger.keys_since(None)
        assert begun.actions == {}
        await done("before", "folio.charge")
        await trio.sleep(0.01)
        moment = (await ledger.keys_since(None)).moment
        assert moment > begun.moment
        assert (await ledger.keys_since(moment)).actions == {}
        await trio.sleep(0.01)
        await done("charged", "folio.charge")
        await done("refused", "folio.charge", answer=refused)
        await done("failed", "folio.charge", answer=replace(ANSWER, status=502))
        await done("unknown", "folio.charge", "uncertain")
        await done("under way", "lock.issue", "in-flight")
        await done("not done", "lock.issue", "open")
        await done("turned down", "lock.revoke", answer=refused)
        await ledger.claim(claiming("of nobody's writing"))
        since = await ledger.keys_since(moment)
        assert since.actions == {
            "folio.charge": Outcomes(1, 3),
            "lock.issue": Outcomes(0, 2),
            "lock.revoke": Outcomes(1, 0),
        }
        assert (since.of("lock.revoke"), since.of("room.assign")) == (Outcomes(1, 0), Outcomes())
        assert since.moment > moment
        everything = await ledger.keys_since(begun.moment - 1)
        assert everything.of("folio.charge") == Outcomes(1, 4)
