from functools import partial

import asyncpg
import pytest
import trio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bff.model import Down
from bff.stores.outbox import Backlog, Letter
from nurseries import Unbounded, within

DAY = 86_400.0


def letter(name, key="room:1", topic="events"):
    return Letter(topic, key, "board-changed", b'{"n":"' + name.encode() + b'"}\x00\xff', f"id-{name}")


def letters(*names):
    return tuple(map(letter, names))


async def waiting(ledger, limit=100):
    return [one.letter.message_id.removeprefix("id-") for one in await ledger.next_letters(limit=limit)]


async def numbers(ledger):
    return tuple(one.number for one in await ledger.next_letters(limit=100))


async def test_letters_are_handed_out_as_they_were_written_and_each_is_there_once_f21(ledger):
    with trio.fail_after(5):
        assert await ledger.append(()) is None
        assert await ledger.append(letters("b", "a", "b")) is None
        other = letter("0", key="", topic="telemetry")
        assert await ledger.append((letter("a", key="other"), *letters("c"), other)) is None
        first = await ledger.next_letters(limit=100)
        assert [one.letter for one in first] == [*letters("b", "a", "c"), other]
        assert await waiting(ledger, limit=2) == ["b", "a"]
        assert [one.letter for one in await ledger.next_letters(limit=1, without=("events", "x"))] == [other]
        assert all(0 <= one.age < 5 for one in first)
        assert sorted({one.number for one in first}) == [one.number for one in first]
        backlog = await ledger.backlog()
    assert (backlog.depth, backlog.dead) == (4, 0)
    assert 0 <= backlog.oldest < 5


async def test_what_was_said_goes_and_only_the_newest_leader_may_say_so(ledger):
    with trio.fail_after(5):
        await ledger.append(letters("a", "b", "c"))
        one, _, three = await numbers(ledger)
        assert await ledger.published(1, (one,)) is False, "nobody leads"
        fence = await ledger.lead("relay")
        assert fence == 1
        for other in (0, 2, -1):
            assert await ledger.published(other, (one,)) is False
            assert await ledger.bury(other, one, "no") is False
        assert await waiting(ledger) == ["a", "b", "c"]
        assert await ledger.published(fence, (one, three, 10_000)) is True
        assert await waiting(ledger) == ["b"]
        assert await ledger.published(fence, (one, three)) is True, "who did not hear the answer asks again"
        assert await ledger.published(fence, ()) is True
        await ledger.append(letters("a"))
        assert await waiting(ledger) == ["b", "a"], "what has gone may be written again"
        assert await ledger.dead_letters(after=0, limit=9) == ()


async def test_what_cannot_be_said_is_dead_with_its_reason_and_is_raised_under_its_old_id_f38(ledger_and_faults, clock):
    ledger, faults = ledger_and_faults
    with within(100):
        await ledger.append(letters("a", "b", "c", "d"))
        several = await numbers(ledger)
        fence = await ledger.lead("relay")
        for number, reason in zip(several[:3], ("too\x00long", "400 '; --", ""), strict=True):
            assert await ledger.bury(fence, number, reason) is True
            assert await ledger.bury(fence, number, "again") is True
        assert await ledger.bury(fence, 10_000, "not there") is True
        assert await waiting(ledger) == ["d"]
        dead = await ledger.dead_letters(after=0, limit=9)
        assert [(one.number, one.letter) for one in dead] == list(zip(several, letters("a", "b", "c"), strict=False))
        assert [one.reason for one in dead] == ["too\ufffdlong", "400 '; --", ""]
        assert await ledger.dead_letters(after=several[0], limit=1) == dead[1:2]
        await faults.time_goes_by(10)
        backlog = await ledger.backlog()
        assert (backlog.depth, backlog.dead) == (1, 3)
        assert 10 <= backlog.oldest < 15
        assert await ledger.raise_letters((several[2], several[0], several[0], several[3], 10_000)) == 2
        assert await waiting(ledger) == ["d", "a", "c"], "as if written now, in their old order"
        old, *raised = await ledger.next_letters(limit=9)
        assert old.age >= 10 > max(one.age for one in raised)
        assert [one.letter for one in raised] == [*letters("a", "c")]
        assert min(one.number for one in raised) > several[3]
        assert await ledger.raise_letters(()) == 0
        await ledger.append(letters("b"))
        assert await ledger.raise_letters((several[1],)) == 1
        assert await waiting(ledger) == ["d", "a", "c", "b"], "one of an id"
        backlog = await ledger.backlog()
        assert (backlog.depth, backlog.dead) == (4, 0)


async def test_the_dead_are_forgotten_after_a_week_eldest_first_f38(ledger_and_faults, clock):
    ledger, faults = ledger_and_faults
    with within(30 * DAY):
        fence = await ledger.lead("relay")
        for names in (("a", "b"), ("c",)):
            await ledger.append(letters(*names))
            for number in await numbers(ledger):
                await ledger.bury(fence, number, "poison")
            await faults.time_goes_by(4 * DAY)
        assert await ledger.trim_dead(older_than=9 * DAY, limit=9) == 0
        assert await ledger.trim_dead(older_than=7 * DAY, limit=1) == 1
        assert [one.letter.message_id for one in await ledger.dead_letters(after=0, limit=9)] == ["id-b", "id-c"]
        assert await ledger.trim_dead(older_than=7 * DAY, limit=9) == 1
        assert [one.letter.message_id for one in await ledger.dead_letters(after=0, limit=9)] == ["id-c"]
        assert await ledger.backlog() == Backlog(0, 0.0, 1)


async def until_led(session, job="relay"):
    """A server finds out by itself that a process has gone, and not at once."""
    while (fence := await session.lead(job)) is None:
        pass
    return fence


async def test_one_process_leads_a_job_and_the_next_one_has_a_higher_fence(ledger_and_faults):
    ledger, faults = ledger_and_faults
    with trio.fail_after(8):
        await ledger.append(letters("a", "b", "c"))
        one, two, _ = await numbers(ledger)
        async with faults.beside() as first:
            assert await first.lead("relay") == 1
            assert await first.lead("relay") == 1, "held still"
            assert [await ledger.lead("relay") for _ in range(3)] == [None] * 3
            assert await ledger.lead("other job") == 1
            assert await first.lead("other job") is None
            assert await first.published(1, (one,)) is True
        assert await until_led(ledger) == 2
        async with faults.beside() as late:
            assert await late.lead("relay") is None
            assert await late.published(1, (two,)) is False, "what an older leader says changes nothing"
            assert await late.bury(1, two, "why") is False
        assert await waiting(ledger) == ["b", "c"]
        assert await ledger.published(2, (two,)) is True
        assert await ledger.lead("relay") == 2
        assert await waiting(ledger) == ["c"]


async def test_of_many_who_want_to_lead_at_once_one_does(ledger_and_faults):
    ledger, faults = ledger_and_faults
    answers = []

    async def ask(session):
        answers.append((session, await session.lead("relay")))

    with trio.fail_after(5):
        async with faults.beside() as other, trio.open_nursery() as nursery:
            for session in (ledger, other) * 8:
                nursery.start_soon(ask, session)
    leaders = {session for session, fence in answers if fence is not None}
    assert len(leaders) == 1
    assert [fence for session, fence in answers if session in leaders] == [1] * 8


async def test_the_lead_goes_with_the_line_to_a_ledger_that_fell_f20(ledger_and_faults):
    ledger, faults = ledger_and_faults
    with trio.fail_after(8):
        assert await ledger.lead("relay") == 1
        faults.down()
        assert isinstance(await ledger.lead("relay"), Down)
        await faults.start(ledger.ping)
        async with faults.beside() as other:
            assert await other.lead("relay") == 2
            assert await ledger.lead("relay") is None


async def test_who_asks_a_ledger_that_hangs_leaves_in_time_and_leads_no_more(ledger_and_faults):
    ledger, faults = ledger_and_faults
    with trio.fail_after(8):
        assert await ledger.lead("relay") == 1
        faults.stop()
        began = trio.current_time()
        with within(0.2) as scope:
            await ledger.lead("relay")
        assert scope.cancelled_caught
        assert trio.current_time() - began < 0.3
        faults.again()
        async with faults.beside() as other:
            fence = await until_led(other)
            assert fence >= 2
            assert await ledger.lead("relay") is None
            assert await other.lead("relay") == fence


async def test_a_ledger_that_is_down_says_so_and_no_verb_waits_without_a_deadline_f20_f33(ledger_and_faults):
    ledger, faults = ledger_and_faults
    verbs = [
        lambda: ledger.append(letters("a")),
        lambda: ledger.lead("relay"),
        lambda: ledger.next_letters(limit=1),
        lambda: ledger.published(1, (1,)),
        lambda: ledger.bury(1, 1, "why"),
        ledger.backlog,
        lambda: ledger.dead_letters(after=0, limit=1),
        lambda: ledger.raise_letters((1,)),
        lambda: ledger.trim_dead(older_than=1, limit=1),
    ]
    for verb in verbs:
        with pytest.raises(Unbounded):
            await verb()
    with trio.fail_after(5):
        faults.down()
        assert {type(await verb()) for verb in verbs} == {Down}
        await faults.start(ledger.ping)


async def test_who_leaves_at_any_moment_leaves_no_lead_behind_that_nobody_has(ledger_and_faults):
    ledger, faults = ledger_and_faults
    faults.slow(0.004)
    with trio.fail_after(8):
        async with faults.beside() as other:
            for number in range(40):
                with within(0.0002 * (number % 25)):
                    await (ledger, other)[number % 2].lead("relay")
            faults.slow(0.0)
            fences = [None, None]
            while fences == [None, None]:
                fences = [await ledger.lead("relay"), await other.lead("relay")]
            fence = max(fence for fence in fences if fence is not None)
            assert fences.count(None) == 1
            assert await ledger.published(fence, ()) is True
        assert await until_led(ledger) in (fence, fence + 1)


NAMES = st.lists(st.sampled_from("abcdef"), max_size=4).map(tuple)
FENCES = st.integers(0, 2)


async def said(ledger, fence, names):
    there = {one.letter: one.number for one in await ledger.next_letters(limit=100)}
    return await ledger.published(fence, tuple(there[one] for one in letters(*names) if one in there))


async def buried(ledger, fence, names):
    there = {one.letter: one.number for one in await ledger.next_letters(limit=100)}
    return [await ledger.bury(fence, there.get(one, 10_000), "why") for one in letters(*names)]


async def raised(ledger, names, limit):
    dead = {one.letter: one.number for one in await ledger.dead_letters(after=0, limit=limit)}
    return await ledger.raise_letters(tuple(dead[one] for one in letters(*names) if one in dead))


STEPS = st.one_of(
    NAMES.map(lambda names: lambda ledger: ledger.append(letters(*names))),
    st.just(lambda ledger: ledger.lead("relay")),
    st.builds(lambda fence, names: lambda ledger: said(ledger, fence, names), FENCES, NAMES),
    st.builds(lambda fence, names: lambda ledger: buried(ledger, fence, names), FENCES, NAMES),
    st.builds(lambda names, limit: lambda ledger: raised(ledger, names, limit), NAMES, st.integers(1, 9)),
    st.integers(0, 2).map(lambda limit: lambda ledger: ledger.trim_dead(older_than=-1, limit=limit)),
)


def and_then_everything(step):
    async def asked(ledger, faults):
        answer = await step(ledger)
        dead = [(one.letter, one.reason) for one in await ledger.dead_letters(after=0, limit=100)]
        backlog = await ledger.backlog()
        return answer, await waiting(ledger), dead, backlog.depth, backlog.dead

    return asked


FROM_BOTH_ENDS = [
    lambda ledger: ledger.append(letters("b", "a", "b", "c")),
    lambda ledger: ledger.lead("relay"),
    lambda ledger: buried(ledger, 1, ("a", "b")),
    lambda ledger: ledger.append(letters("a")),
    lambda ledger: raised(ledger, ("b", "a"), 9),
]


@pytest.mark.real
def test_whatever_is_done_to_letters_both_worlds_agree(worlds):
    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(STEPS, min_size=3, max_size=25))
    @example(FROM_BOTH_ENDS)
    def agree(steps):
        both = worlds("ledger")
        try:
            for step in steps:
                both.same(and_then_everything(step))
        finally:
            both.close()

    agree()


LEAD = "UPDATE leaders SET fence = fence + 1 WHERE job = 'relay'"
WAITS = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
INSERT = """
    INSERT INTO outbox (topic, ordering_key, kind, payload, message_id) VALUES ('events', 'room:1', 'k', '', $1)
"""


class Writer:
    """Somebody's transaction on a connection of his own, open for as long as he likes."""

    def __init__(self, border, url):
        self._border, self._url, self._connection = border, url, None

    async def says(self, statement, *given):
        return await self._border.run("says", partial(self._says, statement, *given))

    async def _says(self, statement, *given):
        if self._connection is None:
            self._connection = await asyncpg.connect(self._url, timeout=5)
            await self._connection.execute("BEGIN")
        return await self._connection.fetchval(statement, *given)

    async def writes(self, name):
        await self.says(INSERT, f"id-{name}")


@pytest.fixture
def writers(ledger, running):
    """A number of them."""
    made = []

    def make(number):
        made.extend(Writer(ledger._border, running.postgres_url) for _ in range(number))
        return made

    yield make
    for writer in made:
        if writer._connection is not None:
            writer._connection.terminate()


@pytest.mark.parametrize("world", ["real"], indirect=True)
async def test_a_letter_is_never_passed_over_nor_handed_out_before_an_older_one_f21(ledger, writers):
    """The older transaction commits last: its letter would be behind a cursor that had moved on."""
    old, young, undone = writers(3)
    with trio.fail_after(8):
        await ledger.append(letters("before"))
        fence = await ledger.lead("relay")
        await old.writes("old 1")
        await undone.writes("undone")
        await young.writes("young")
        await young.says("COMMIT")
        await ledger.append(letters("after"))
        assert await waiting(ledger) == ["before"]
        assert await ledger.published(fence, await numbers(ledger)) is True
        await old.writes("old 2")
        assert await waiting(ledger) == []
        assert (await ledger.backlog()).depth == 2, "they are seen, and wait"
        await old.says("COMMIT")
        assert await waiting(ledger) == ["old 1", "old 2"], "young is younger than who is still under way"
        await undone.says("ROLLBACK")
        assert await waiting(ledger) == ["old 1", "old 2", "young", "after"]


@pytest.mark.parametrize("world", ["real"], indirect=True)
@pytest.mark.parametrize("verb", ["published", "bury"])
async def test_a_leader_that_is_followed_while_it_speaks_is_refused(ledger, writers, verb):
    answers = []
    (successor,) = writers(1)

    async def speak(fence, number):
        said = ledger.published(fence, (number,)) if verb == "published" else ledger.bury(fence, number, "why")
        answers.append(await said)

    with trio.fail_after(8):
        await ledger.append(letters("a"))
        fence = await ledger.lead("relay")
        await successor.says(LEAD)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(speak, fence, (await numbers(ledger))[0])
            while not await successor.says(WAITS):
                pass
            await successor.says("COMMIT")
        assert answers == [False]
        assert await waiting(ledger) == ["a"]
