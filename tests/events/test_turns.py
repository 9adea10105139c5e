"""However many listen, others have their turn in between, and nobody is left out or told twice."""

from itertools import pairwise

import msgspec
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from bff.events.event import Said
from bff.events.journal import Journal
from bff.events.turns import AT_ONCE
from bff.model import Claims
from bff.stores.bus import Entry, Position

MANY = 10 * AT_ONCE
EPOCH = "aaaaaaaaaaaa"
DESK = Claims("iam", "bff", 9e9, 0.0, 0.0, "op", "t1", "d1", "s1", ("p1",), "jkt")


def a_journal():
    return Journal("t1", Position(EPOCH, 100), 0.0)


def entry(offset):
    return Entry(Position(EPOCH, offset), msgspec.json.encode(Said("alert", "t1")), 1.0, f"u{offset}")


async def test_a_thousand_listeners_are_not_woken_in_one_step_of_the_scheduler(autojump_clock):
    journal, heard, steps = a_journal(), [], []
    listening = [journal.listen(DESK, journal.head) for _ in range(MANY)]

    async def hears(listener):
        heard.append(await listener.next())

    async def steps_on():
        while len(heard) < MANY:
            steps.append(len(heard))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for one in listening:
            nursery.start_soon(hears, one)
        await trio.testing.wait_all_tasks_blocked()
        journal.append(entry(101))
        nursery.start_soon(steps_on)
    assert [len(items) for items in heard] == [1] * MANY
    assert max(later - sooner for sooner, later in pairwise(steps)) <= 2 * AT_ONCE
    assert len(steps) >= MANY / AT_ONCE / 2


@settings(max_examples=25)
@given(st.integers(1, 3 * AT_ONCE), st.sets(st.integers(0, 3 * AT_ONCE)), st.integers(1, 4))
def test_who_leaves_while_it_is_in_line_holds_up_nobody(simulate, listeners, leaving, events):
    async def main():
        journal, heard = a_journal(), {}
        scopes = {number: trio.CancelScope() for number in range(listeners)}

        async def hears(number):
            with scopes[number]:
                listener = journal.listen(DESK, journal.head)
                try:
                    while len(heard.setdefault(number, [])) < events:
                        heard[number] += await listener.next()
                finally:
                    listener.leave()

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for number in range(listeners):
                    nursery.start_soon(hears, number)
                await trio.testing.wait_all_tasks_blocked()
                for offset in range(events):
                    journal.append(entry(101 + offset))
                    for number in sorted(leaving & scopes.keys()):
                        scopes[number].cancel()
        return {number: [item.position.offset for item in items] for number, items in heard.items()}

    heard = simulate(main)
    whole = list(range(101, 101 + events))
    assert all(heard[number] == whole for number in range(listeners) if number not in leaving)
