import asyncio

import pytest
import trio
import trio.testing

from bff.facts import Surprised
from bff.stores import border as border_module
from bff.stores.border import Interrupted, open_border
from nurseries import Full, Unbounded, listening, within


async def test_work_gives_what_it_gives_and_raises_what_it_raises(border):
    async def seven():
        await asyncio.sleep(0)
        return 7

    async def refused():
        await asyncio.sleep(0)
        raise ConnectionRefusedError("nobody there")

    with trio.fail_after(5):
        assert await border.run("seven", seven) == 7
        with pytest.raises(ConnectionRefusedError, match="nobody there"):
            await border.run("refused", refused)


async def test_no_crossing_without_a_deadline_f33(border):
    begun = []

    async def work():
        begun.append(True)

    with pytest.raises(Unbounded):
        await border.run("work", work)
    assert not begun


async def test_the_deadline_around_the_border_holds_within_it():
    async def sleep():
        await asyncio.sleep(60)

    began = trio.current_time()
    with within(0.1) as scope:
        async with open_border() as border:
            await border.run("sleep", sleep)
    assert scope.cancelled_caught
    assert trio.current_time() - began < 1


async def test_the_deadline_frees_the_caller_and_the_work_cleans_up_by_itself(border):
    may_end, cleaned = border.future(), trio.Event()

    async def stubborn():
        try:
            await asyncio.sleep(60)
        finally:
            await may_end  # noqa: ASYNC102 - asyncio's
            cleaned.set()

    with trio.fail_after(5):
        with within(0.05) as scope:
            await border.run("stubborn", stubborn)
        assert scope.cancelled_caught
        assert not cleaned.is_set()
        may_end.set_result(None)
        await cleaned.wait()


async def test_who_leaves_cuts_what_the_clean_up_would_wait_for(border):
    """As a rollback does, of a server that hangs."""
    answer, ended, steps = border.future(), trio.Event(), []

    async def transaction():
        try:
            await asyncio.sleep(60)
        finally:
            steps.append("clean-up")
            try:
                await answer  # noqa: ASYNC102 - asyncio's
            finally:
                ended.set()

    def cut():
        steps.append("cut")
        answer.set_exception(ConnectionError("cut"))

    with trio.fail_after(5):
        with within(0.02):
            await border.run("transaction", transaction, cut=cut)
        await ended.wait()
    assert steps == ["cut", "clean-up"]


async def test_who_is_answered_cuts_nothing(border):
    cuts = []
    with trio.fail_after(5):
        await border.run("work", lambda: asyncio.sleep(0), cut=lambda: cuts.append(True))
    assert cuts == []


async def test_what_ends_after_its_caller_left_reaches_nobody(border):
    """Neither its value, nor its error: not as an exception, and not as a complaint that nobody looked."""
    told = []
    ends = [trio.Event(), trio.Event()]

    async def work(number):
        try:
            await asyncio.sleep(60)
        finally:
            ends[number].set()
            if number:
                raise ValueError("too late")

    with listening(told.append), trio.fail_after(5):
        for number in range(2):
            with within(0.02):
                await border.run("work", lambda number=number: work(number))
            await ends[number].wait()
        await border.run("after", lambda: asyncio.sleep(0))
    assert told == []


async def test_a_cancellation_from_inside_asyncio_is_an_error_of_its_own(border):
    """Let out as it is, it looks like a cancellation to asyncio's tools and ended the whole program."""

    async def leaks():
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    with trio.fail_after(5), pytest.raises(Interrupted, match="cancelled from inside"):
        await border.run("leaks", leaks)


async def test_a_callback_that_raises_is_told_and_ends_nothing(border):
    told = []
    over = trio.Event()

    async def work():
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: 1 / 0)
        loop.call_soon(over.set)

    with listening(told.append), trio.fail_after(5):
        await border.run("work", work)
        await over.wait()
        await border.run("more work", lambda: asyncio.sleep(0))
    assert told == [Surprised("asyncio", "ZeroDivisionError: division by zero")]


@pytest.mark.parametrize("exit_", [SystemExit(3), KeyboardInterrupt()])
async def test_what_ends_a_program_ends_it_from_the_trio_side_and_hangs_nobody(exit_):
    async def ends():
        await asyncio.sleep(0)
        raise exit_

    async def waits():
        await asyncio.sleep(60)

    answers = []

    async def bystander(border):
        with within(60):
            try:
                await border.run("waits", waits)
            except Interrupted:
                answers.append("interrupted")

    with trio.fail_after(5), pytest.RaisesGroup(type(exit_), flatten_subgroups=True):
        async with open_border() as border, trio.open_nursery() as nursery:
            nursery.start_soon(bystander, border)
            await trio.testing.wait_all_tasks_blocked()
            with within(60), pytest.raises(Interrupted):
                await border.run("ends", ends)
            await trio.sleep_forever()
    assert answers == ["interrupted"]


async def test_an_error_of_the_block_comes_out_as_it_is():
    with pytest.raises(ValueError, match=r"^a bad URL$"):
        async with open_border():
            raise ValueError("a bad URL")


async def test_leaving_waits_for_the_clean_up_of_what_is_beyond():
    cleaned = []

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.02)  # noqa: ASYNC102 - asyncio's
            cleaned.append(True)

    with trio.fail_after(5):
        async with open_border() as border:
            with within(0.01):
                await border.run("work", work)
    assert cleaned == [True]


async def test_nothing_begins_on_a_border_that_was_left():
    async with open_border() as border:
        pass
    with within(5), pytest.raises(Interrupted):
        await border.run("work", lambda: asyncio.sleep(0))


async def test_crossings_are_bounded_and_those_of_callers_who_left_count(border, monkeypatch):
    monkeypatch.setattr(border_module, "CROSSINGS", 2)
    may_end = border.future()

    async def stubborn():
        try:
            await asyncio.sleep(60)
        finally:
            await may_end  # noqa: ASYNC102 - asyncio's

    with trio.fail_after(5):
        for _ in range(2):
            with within(0.02):
                await border.run("stubborn", stubborn)
        with pytest.raises(Full):
            await border.run("one more", stubborn)
        may_end.set_result(None)
        await trio.testing.wait_all_tasks_blocked()
        await border.run("now", lambda: asyncio.sleep(0))


@pytest.mark.parametrize(
    ("bug", "told_of"),
    [
        (LookupError("a bug"), "LookupError: a bug"),
        (asyncio.CancelledError(), "Interrupted: cancelled from inside"),
    ],
)
async def test_a_worker_that_falls_over_a_bug_is_told_of_and_begins_again(border, monkeypatch, bug, told_of):
    monkeypatch.setattr(border_module, "BEGINS_AGAIN_AFTER", 0.01)
    told, second = [], trio.Event()

    async def work():
        if told:
            second.set()
            await asyncio.sleep(60)
        raise bug

    with listening(told.append), trio.fail_after(5):
        async with border.keeping("worker", work):
            await second.wait()
    assert told == [Surprised("worker", told_of)]


async def test_a_worker_ends_with_its_block(border):
    ended = []

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    with trio.fail_after(5):
        async with border.keeping("worker", work):
            await trio.testing.wait_all_tasks_blocked()
            assert not ended
        assert ended
