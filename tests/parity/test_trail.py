import json
from itertools import pairwise

import pytest
import trio

from bff.stores.keys import Claimed, Claiming, KeptAnswer, KeyId, Recording
from bff.stores.trail import BEGINNING, GAPS, HOUSE, Checkpoint, Completeness, TrailRow, link
from nurseries import within

ANSWER = KeptAnswer(200, b"{}", "application/json")
GRACE, LEASE, DAY = 60.0, 10.0, 86_400.0
ENTRIES = (
    '{"kind": "note", "why": "a \\"quote\\", a \\\\u0000, a \'; DROP TABLE audit_trail; --"}',
    json.dumps({"why": "\x00 \ud800 \udc00 \U0001f511 \x1f"}),
    json.dumps({"why": "Zażółć 客室 \U0001f511 $$ %s \u2028"}, ensure_ascii=False),
    json.dumps({"kind": None, "operator": ["x"], "key": {"a": 1}}),
    json.dumps({"why": "long " * 40_000}),
    "  {  }\n",
)


def row(kind, key, operator="ann", **more):
    return json.dumps({"kind": kind, "operator": operator, "key": key, **more})


async def whole(ledger, tenant):
    """Every row, a page at a time, and each chained to the one before."""
    rows, page = [], True
    while page:
        page = await ledger.trail(tenant, after=len(rows), limit=7)
        assert len(page) <= 7
        rows.extend(page)
    assert [one.seq for one in rows] == list(range(1, len(rows) + 1))
    for before, one in pairwise([TrailRow(tenant, 0, "", b"", BEGINNING), *rows]):
        assert (one.tenant, one.previous) == (tenant, before.hash)
        assert one.hash == link(tenant, one.seq, one.entry, one.previous)
    return rows


@pytest.mark.parametrize("tenant", ["resort", HOUSE, "Zażółć '; 客室"], ids=["resort", "house", "odd"])
async def test_rows_are_numbered_and_chained_whatever_they_say_f27(ledger, tenant):
    with trio.fail_after(5):
        assert await ledger.add_to_trail(tenant, ENTRIES[:3]) is None
        assert await ledger.add_to_trail(tenant, ()) is None
        assert await ledger.add_to_trail(tenant, ENTRIES[3:]) is None
        assert [one.entry for one in await whole(ledger, tenant)] == list(ENTRIES)
        assert await ledger.trail("nobody", after=0, limit=9) == ()


async def test_what_the_ledger_looks_at_is_found_beside_anything_else_that_an_entry_says_f27(ledger):
    """An operator's reason may have a NUL in it, and half of a pair: the outcome must be known as one all the same."""
    key = 'k\\u0000"'
    with trio.fail_after(5):
        for entry in (row("intent", key, why="\x00\\"), row("outcome", key, operator="ann", why="\ud83d \\\x00")):
            assert await ledger.add_to_trail("resort", (entry,)) is None
        assert await ledger.lock_completeness(grace=-1) == Completeness(3, 3, ())


async def test_many_write_at_once_and_there_is_no_gap_and_no_fork_f27(ledger):
    async def write(number):
        tenant = ("resort", "city")[number % 2]
        assert await ledger.add_to_trail(tenant, (row("note", f"a{number}"), row("note", f"b{number}"))) is None

    async def hurried(number):
        with within(0.0004 * number):
            await ledger.add_to_trail("resort", (row("hurried", f"{number}"),) * 2)

    with trio.fail_after(8):
        async with trio.open_nursery() as nursery:
            for number in range(32):
                nursery.start_soon(write, number)
                nursery.start_soon(hurried, number)
        resort, city = await whole(ledger, "resort"), await whole(ledger, "city")
        assert await ledger.ends_of_trails() == (city[-1], resort[-1])
    told = [json.loads(one.entry)["key"] for one in city]
    assert sorted(told[::2]) == sorted(f"a{n}" for n in range(1, 32, 2))
    assert [key[1:] for key in told[::2]] == [key[1:] for key in told[1::2]], "what was written together is together"
    assert len(resort) % 2 == 0 and len(resort) >= 32


async def test_the_ends_are_those_of_every_trail(ledger):
    tenants = ("resort", HOUSE, "Zoo", "city", "\U0001f511", "éa")
    with trio.fail_after(5):
        assert await ledger.ends_of_trails() == ()
        for tenant in tenants:
            await ledger.add_to_trail(tenant, ("{}", row("note", tenant)))
        ends = await ledger.ends_of_trails()
        assert [(end.tenant, end.seq) for end in ends] == [(tenant, 2) for tenant in sorted(tenants)]
        assert ends == tuple([(await ledger.trail(tenant, after=1, limit=9))[0] for tenant in sorted(tenants)])


async def test_a_checkpoint_is_kept_as_it_was_signed_and_once(ledger):
    first = Checkpoint("resort", 1, b"h" * 32, 1_439_622_000.123456789, b"s" * 64)
    with trio.fail_after(5):
        for one in (Checkpoint("resort", 7, b"i" * 32, 0.1, b"t" * 64), first, Checkpoint("city", 1, b"", 0.0, b"")):
            assert await ledger.sign(one) is None
        assert await ledger.sign(Checkpoint("resort", 1, b"forged", 9.0, b"x" * 64)) is None
        kept = await ledger.checkpoints("resort")
    assert [one.seq for one in kept] == [1, 7]
    assert kept[0] == first


async def lose_rows(faults, tenant, *numbers):
    """What somebody can do who may turn off triggers, and leaves no other trace."""
    if faults.simulated:
        for number in numbers:
            faults.simulated.trail.rows.drop((tenant, number))
        return
    which = f"tenant_id = '{tenant}' AND seq IN ({', '.join(map(str, numbers))})"
    switched = "ALTER TABLE audit_trail {} TRIGGER only_added_to"
    await faults.as_admin(
        f"{switched.format('DISABLE')}; DELETE FROM audit_trail WHERE {which}; {switched.format('ENABLE ALWAYS')}"
    )


def opening(key, tenant="resort", intent=True, what="lock"):
    written = row("intent", key) if intent else None
    return Claiming(KeyId(tenant, "ann", key), b"f", (f"{what}:{key}", f"lock:2-{key}"), b"", LEASE, intent=written)


def done(asked, state="recorded", *entries):
    return Recording(asked.id, 1, state, answer=ANSWER if state == "recorded" else None, trail=entries)


async def test_nothing_is_missing_of_nothing_f27(ledger):
    with trio.fail_after(5):
        whole = await ledger.lock_completeness(grace=GRACE)
    assert (whole, whole.ratio) == (Completeness(0, 0, ()), 1.0)


async def test_a_lock_action_without_its_rows_is_missed_f27(ledger_and_faults, clock):
    ledger, faults = ledger_and_faults
    with within(1000):

        async def look(*gaps, expected):
            looked = await ledger.lock_completeness(grace=GRACE)
            assert looked == Completeness(expected, expected - len(gaps), gaps)

        good, other = opening("good"), opening("no lock", what="room", intent=False)
        for asked in (good, other):
            assert await ledger.claim(asked) == Claimed(1, "new")
        await look(expected=2)  # its intent, and row 1
        assert await ledger.record(done(good, "recorded", row("outcome", "good", outcome="success")))
        await look(expected=3)
        mute, unsaid = opening("mute", tenant="city", intent=False), opening("unsaid", tenant="city")
        for asked in (mute, unsaid):
            assert await ledger.claim(asked) == Claimed(1, "new")
            assert await ledger.record(done(asked))
        no_intent = "city: no intent of ann's mute"
        await look(no_intent, expected=6)
        await faults.time_goes_by(GRACE + 1)
        await look(no_intent, "city: no outcome of row 1", expected=8)
        await ledger.add_to_trail("city", (row("outcome", "unsaid", "bob"), row("note", "unsaid")))
        await look(no_intent, "city: no outcome of row 1", expected=10)
        await ledger.add_to_trail("city", (row("outcome", "unsaid", outcome="uncertain"), row("intent", "mute")))
        await look(expected=12)
        await faults.time_goes_by(8 * DAY)
        await look(expected=7)  # what is older than keys are kept is not looked at, but for its numbers


async def test_every_attempt_has_an_outcome_of_its_own_f27(ledger_and_faults, clock):
    ledger, faults = ledger_and_faults
    with within(100):
        await ledger.add_to_trail(
            "resort", (row("intent", "k"), row("intent", "k"), row("outcome", "k"), row("outcome", "k"))
        )
        await faults.time_goes_by(GRACE + 1)
        looked = await ledger.lock_completeness(grace=GRACE)
    assert looked == Completeness(6, 5, ("resort: no outcome of row 1",)), (
        "two after the second are none of the first's"
    )


async def test_rows_that_were_taken_away_are_missed_f27(ledger_and_faults):
    ledger, faults = ledger_and_faults
    with trio.fail_after(8):
        for tenant in ("resort", "city", "gone"):
            await ledger.add_to_trail(tenant, tuple(row("note", str(n)) for n in range(10)))
        await lose_rows(faults, "resort", 1, 2, 5)
        await lose_rows(faults, "city", 9, 10)
        await lose_rows(faults, "gone", *range(1, 11))
        looked = await ledger.lock_completeness(grace=GRACE)
        assert looked == Completeness(18, 15, ("resort: no rows 1 to 2", "resort: no rows 5 to 5")), "who cut the end?"
        for tenant in ("city", "gone", "resort"):
            await ledger.sign(Checkpoint(tenant, 10, b"h" * 32, 0.0, b"s" * 64))
        looked = await ledger.lock_completeness(grace=GRACE)
    gaps = ("city: no rows 9 to 10", "gone: no rows 1 to 10", "resort: no rows 1 to 2", "resort: no rows 5 to 5")
    assert looked == Completeness(30, 15, gaps)


async def test_all_that_is_missing_is_counted_and_the_first_of_it_are_named_f27(ledger):
    with trio.fail_after(8):
        await ledger.add_to_trail("resort", tuple(row("intent", str(n)) for n in range(GAPS + 20)))
        looked = await ledger.lock_completeness(grace=-1)
    assert looked.expected - looked.present == GAPS + 20
    assert looked.gaps == tuple(f"resort: no outcome of row {n + 1}" for n in range(GAPS))
