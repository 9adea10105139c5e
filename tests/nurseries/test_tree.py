import os.path
import re
import sys
from contextlib import asynccontextmanager
from functools import partial, wraps

import pytest
import trio
import trio.lowlevel
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from nurseries import KeyedScopes, fan_out, open_owner, task_tree, within
from nurseries.tree import DEEPEST


def in_a_run_of_its_own(test):
    @wraps(test)
    def run():
        trio.run(test, clock=trio.testing.MockClock(autojump_threshold=0))

    return run


def drawn():
    """Below the task that asks, without the places in the code."""
    return re.sub("  at .*", "", task_tree(trio.lowlevel.current_task())).splitlines()


def place_of(name):
    """Where the task called `name` waits, without the line."""
    return re.search(rf"^ *{name}  .*  at (.*):\d+$", task_tree(), re.MULTILINE)[1]


@in_a_run_of_its_own
async def test_tasks_stand_below_their_nurseries_each_with_what_is_left_of_its_deadline():
    async def parent():
        with within(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep, 3, name="child")
                nursery.start_soon(trio.sleep_forever, name="other child")

    async with trio.open_nursery() as outer, trio.open_nursery() as inner:
        outer.start_soon(parent, name="parent")
        inner.start_soon(trio.sleep_forever, name="for ever")
        trio.lowlevel.current_task().name = "root"
        await trio.sleep(1)
        assert drawn() == [
            "root  no deadline",
            "  nursery",
            "    parent  4.000 s left",
            "      nursery",
            "        child  2.000 s left",
            "        other child  4.000 s left",
            "  nursery",
            "    for ever  no deadline",
        ]
        inner.cancel_scope.cancel()
        outer.cancel_scope.cancel()


async def test_the_whole_run_is_drawn_from_its_first_task_on(autojump_clock):
    own = trio.lowlevel.current_task()
    own.name = "the one that asks"
    lines = task_tree().splitlines()
    assert lines[0].startswith("<init>  ")
    assert any(re.fullmatch(r" +the one that asks  no deadline  at \S+", line) for line in lines)
    assert task_tree(trio.lowlevel.current_root_task()) == "\n".join(lines) + "\n"


@in_a_run_of_its_own
async def test_who_was_told_to_stop_and_who_does_not_hear_it_are_said():
    async def deaf():
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep, 20, name="below the deaf")
                nursery.start_soon(trio.sleep, 21, name="beside it")

    async def slow():
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 9):
                await trio.sleep_forever()

    async def late():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(deaf, name="deaf")
            nursery.start_soon(slow, name="slow")

    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = 1
        nursery.start_soon(late, name="late")
        with trio.CancelScope(shield=True):
            await trio.sleep(3)
            assert drawn()[1:] == [
                "  nursery",
                "    late  told to stop, 2.000 s past its deadline",
                "      nursery",
                "        deaf  no deadline, shielded though told to stop",
                "          nursery",
                "            below the deaf  17.000 s left, shielded though told to stop",
                "            beside it  18.000 s left, shielded though told to stop",
                "        slow  7.000 s left, shielded though told to stop",
            ]


@in_a_run_of_its_own
async def test_who_was_told_to_stop_before_its_deadline_is_not_past_it():
    with within(9) as scope:
        scope.cancel()
        trio.lowlevel.current_task().name = "root"
        assert drawn() == ["root  told to stop, 9.000 s before its deadline"]


@in_a_run_of_its_own
async def test_a_shield_under_which_a_task_was_told_to_stop_is_no_excuse():
    with trio.CancelScope() as outer, trio.CancelScope(shield=True) as inner:  # noqa: ASYNC100
        outer.cancel()
        inner.cancel()
        trio.lowlevel.current_task().name = "root"
        assert drawn() == ["root  told to stop"]


@in_a_run_of_its_own
async def test_a_shield_inside_of_a_shield_hears_no_more_than_the_outer_one():
    with trio.CancelScope() as outer, trio.CancelScope(shield=True), within(3), trio.CancelScope(shield=True):
        outer.cancel()
        await trio.lowlevel.checkpoint()
        trio.lowlevel.current_task().name = "root"
        assert drawn() == ["root  no deadline, shielded though told to stop"]


@in_a_run_of_its_own
async def test_an_owner_is_named_with_what_it_holds_and_who_overstays():
    async def deaf():
        with trio.CancelScope(shield=True):
            await trio.sleep(5)

    async with open_owner("requests", bound=4) as owner:
        owner.start(trio.sleep, 9, name="work")
        await fan_out({"kpis": deaf, "rates": deaf}, until=1, owner=owner)
        await trio.sleep(1)
        assert drawn()[1:] == [
            "  owner requests: 2 of 4 tasks, overstaying: kpis 1, rates 1",
            "    work  7.000 s left",
            "    fan-out  told to stop, 1.000 s past its deadline",
            "      nursery",
            "        kpis  3.000 s left, shielded though told to stop",
            "        rates  3.000 s left, shielded though told to stop",
        ]


@in_a_run_of_its_own
async def test_an_owner_s_last_error_and_that_it_is_being_left_are_said():
    async def breaks():
        raise OSError("gone\tfor good\nand ever")

    async def slow():
        with trio.CancelScope(shield=True):
            await trio.sleep(5)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 3, name="beside")
        async with open_owner("jobs", bound=4) as owner:
            owner.start(breaks, name="breaks")
            owner.start(slow, name="slow")
            await trio.sleep(1)
            owner.cancel()
            assert drawn()[-2:] == [
                "  owner jobs: 1 of 4 tasks, being left, last error OSError: gone for good",
                "    slow  4.000 s left, shielded though told to stop",
            ]


@in_a_run_of_its_own
async def test_the_health_of_services_stands_with_their_owner():
    async def breaks():
        await trio.sleep(2)
        raise OSError("gone")

    async with open_owner("jobs", bound=4) as owner:
        owner.supervise("calm", trio.sleep_forever, jitter=lambda: 0)
        owner.supervise("relay", breaks, jitter=lambda: 0)
        await trio.sleep(3)
        assert drawn()[1:] == [
            "  owner jobs: 2 of 4 tasks",
            "    service calm: running for 3.000 s, restarts: 0",
            "    service relay: running for 0.900 s, restarts: 1, last error OSError: gone",
            "    calm  no deadline",
            "    relay  1.100 s left",
        ]


@in_a_run_of_its_own
async def test_siblings_stand_in_the_order_in_which_they_began():
    names = [f"task {number}" for number in range(200)]
    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(trio.sleep, 9, name=name)
        await trio.sleep(1)
        assert [line.split("  ")[2] for line in drawn()[2:]] == names


@asynccontextmanager
async def takes_long_to_leave():
    try:
        yield
    finally:
        await trio.sleep(5)  # noqa: ASYNC102 - it is the place that matters


async def in_a_context_manager():
    async with takes_long_to_leave():
        pass


sleeps = partial(trio.sleep, 5)


class Awaitable:
    def __await__(self):
        yield from sleeps().__await__()


async def in_an_awaitable():
    await Awaitable()


async def in_a_kit_s_scope():
    with KeyedScopes("any").newest("key"):
        await in_an_awaitable()


async def in_a_friend_of_trio():
    """Code of a package that is no part of Trio, though its name begins like Trio's."""
    friend = {"trio": trio}
    file = f"{os.path.dirname(trio.__file__)}_friend/of.py"
    exec(compile("async def waits():\n    await trio.sleep(5)", file, "exec"), friend)
    await friend["waits"]()


@pytest.mark.parametrize(
    ("work", "where"),
    [
        (in_a_context_manager, "test_tree.py:takes_long_to_leave"),
        (in_an_awaitable, "test_tree.py:Awaitable.__await__"),
        (in_a_kit_s_scope, "test_tree.py:Awaitable.__await__"),
        (in_a_friend_of_trio, "of.py:waits"),
        (sleeps, "_timeouts.py:sleep"),
    ],
)
async def test_a_task_is_where_the_program_waits_and_not_where_trio_does(autojump_clock, work, where):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work, name="sought")
        await trio.sleep(1)
        assert place_of("sought") == where


class Odd:
    """It waits, and lets nobody look at it."""

    def __await__(self):
        self.inner = sleeps().__await__()
        return self

    def __next__(self):
        return next(self.inner)

    def send(self, value):
        return self.inner.send(value)

    def throw(self, *error):
        return self.inner.throw(*error)

    def __getattribute__(self, name):
        if name.startswith(("cr_", "gi_", "__class__")):
            raise RuntimeError(f"no {name} for you")
        return super().__getattribute__(name)


async def in_something_odd():
    await Odd()


async def test_an_awaitable_that_lets_nobody_look_at_it_hides_only_what_is_behind_it(autojump_clock):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_something_odd, name="sought")
        await trio.sleep(1)
        assert place_of("sought") == "test_tree.py:in_something_odd"


@in_a_run_of_its_own
async def test_a_task_that_has_ended_is_nowhere():
    ended = []

    async def ends():
        ended.append(trio.lowlevel.current_task())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ends, name="short")
        nursery.start_soon(ends, name="shorter")
    assert sorted(map(task_tree, ended)) == ["short  no deadline  at ?\n", "shorter  no deadline  at ?\n"]


@in_a_run_of_its_own
async def test_a_name_of_several_lines_takes_one():
    async with open_owner("jobs", bound=1) as owner:
        owner.start(trio.sleep_forever, name="a\nb\n\n  c")
        await trio.testing.wait_all_tasks_blocked()
        assert drawn()[2:] == ["    a b c  no deadline"]


async def nested(left, innermost):
    if not left:
        innermost()
        return
    async with trio.open_nursery() as nursery:
        nursery.start_soon(nested, left - 1, innermost, name=f"{left} to go")
        await trio.lowlevel.checkpoint()


def test_nurseries_nested_deeper_than_python_s_stack_do_not_make_the_text_grow_with_the_square_of_their_number():
    depth, trees = 1500, []
    trio.run(nested, depth, lambda: trees.append(task_tree()))
    lines = trees[0].splitlines()
    assert sum(" to go  no deadline" in line for line in lines) == depth
    assert max(map(len, lines)) < 2 * DEEPEST + 100
    assert lines[-1].startswith(f"{'  ' * DEEPEST}({2 * depth + 2}) 1 to go  ")


def test_twice_the_tasks_are_twice_the_work():
    def calls(depth):
        counted = []

        def draw():
            sys.setprofile(lambda frame, event, arg: counted.append(event))
            task_tree()
            sys.setprofile(None)

        trio.run(nested, depth, draw)
        return len(counted)

    assert calls(400) < 2.2 * calls(200)


def test_before_the_first_task_there_is_none():
    trees = []

    class Watch(trio.abc.Instrument):
        def before_run(self):
            trees.append(task_tree())

    trio.run(trio.lowlevel.checkpoint, instruments=[Watch()])
    assert trees == ["no task\n"]


def test_outside_of_a_run_there_is_nothing_to_draw():
    with pytest.raises(RuntimeError):
        task_tree()


SHAPES = st.recursive(
    st.tuples(st.integers(1, 40), st.booleans()),
    lambda shapes: st.lists(shapes, max_size=4),
    max_leaves=25,
)


@settings(max_examples=60, deadline=None)
@given(SHAPES, st.integers(0, 40))
def test_whatever_the_tree_what_is_left_of_a_deadline_is_what_the_task_itself_would_say(simulate, shape, at):
    said, drawn_ones = {}, {}

    async def main():
        async def leaf(name, seconds, deaf):
            with trio.CancelScope(shield=deaf, deadline=seconds / 4):
                said[name] = trio.current_effective_deadline()
                try:
                    await never.wait()
                finally:
                    del said[name]

        async def grow(name, shape):
            if isinstance(shape, tuple):
                await leaf(name, *shape)
                return
            async with trio.open_nursery() as nursery:
                nursery.cancel_scope.deadline = 8 - len(name)
                for number, below in enumerate(shape):
                    nursery.start_soon(grow, f"{name}{number}", below, name=f"{name}{number}")

        async with trio.open_nursery() as nursery:
            never = trio.Event()
            nursery.start_soon(grow, "t", shape, name="t")
            await trio.sleep(at / 4 + 1 / 8)
            for name, left in re.findall(r"^ *(t\d*)  (\S+) s left", task_tree(), re.MULTILINE):
                drawn_ones[name] = trio.current_time() + float(left)
            assert {name: drawn_ones[name] for name in said} == said
            never.set()

    simulate(main)
