"""A run of Trio from a seed is the same run again, whatever Python hashes and wherever its scopes lie in memory."""

import os
import subprocess
import sys
from itertools import permutations

import pytest
import trio
from trio.testing import MockClock

from chaos.choices import Drawn, Replayed, walk
from chaos.sim.clock import Schedule, decided, simulate
from chaos.sim.trace import Trace, note

_run = trio._core._run


async def busy(tasks=6):
    """Ties of every kind: tasks ready at once, equal deadlines, an event that wakes a set of tasks."""
    order = []
    gate = trio.Event()

    async def one(number):
        for _ in range(3):
            await trio.sleep(0.5)
            order.append(number)
        await gate.wait()
        order.append(number)
        note("sent", bytes([number]))
        with trio.move_on_after(1):
            await trio.sleep_forever()
        order.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(tasks):
            nursery.start_soon(one, number)
        await trio.sleep(2)
        gate.set()
    return order


def traced(seed):
    trace = Trace(keep=10_000)
    return simulate(busy, seed=seed, trace=trace), trace


async def in_which_order(tasks):
    order = []

    async def one(number):
        order.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(tasks):
            nursery.start_soon(one, number)
    return tuple(order)


async def in_which_order_equal_deadlines_pass(scopes=2):
    """Seen where a deadline wakes its task: in the abort function, before the scheduler has its say."""
    order = []

    async def one(number):
        with trio.move_on_after(1.0):
            await trio.lowlevel.wait_task_rescheduled(
                lambda _: order.append(number) or trio.lowlevel.Abort.SUCCEEDED  # type: ignore[func-returns-value]
            )

    async with trio.open_nursery() as nursery:
        for number in range(scopes):
            nursery.start_soon(one, number)
    return tuple(order)


def test_two_runs_of_one_seed_are_the_same_to_the_last_step():
    (order, trace), (again, other) = traced(7), traced(7)
    assert order == again
    assert trace.lines == other.lines and trace.digest() == other.digest()
    assert trace.steps > 40


def test_the_address_of_a_scope_decides_nothing():
    kept = []  # what is not freed moves what comes after it to other addresses

    def run():
        kept.append([bytearray(size) for size in range(64, 640, 8)])
        kept.append([trio.CancelScope() for _ in range(len(kept) * 7)])
        return simulate(in_which_order_equal_deadlines_pass, 6, seed=3)

    assert len({run() for _ in range(10)}) == 1


def test_a_seed_means_the_same_in_every_process_whatever_python_hashes():
    told = (
        "import runpy, sys; names = runpy.run_path(sys.argv[1], run_name=sys.argv[2]); "
        "order, trace = names['traced'](7); "
        "print(trace.digest(), order, names['simulate'](names['in_which_order_equal_deadlines_pass'], 6, seed=7))"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", told, __file__, __name__],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for hash_seed in ("0", "1", "4711")
    ]
    said = {process.communicate(timeout=30)[0] for process in running}
    order, trace = traced(7)
    ties = simulate(in_which_order_equal_deadlines_pass, 6, seed=7)
    assert said == {f"{trace.digest()} {order} {ties}\n"}


def test_other_seeds_are_other_schedules():
    assert len({traced(seed)[1].digest() for seed in range(20)}) == 20


def test_which_of_two_equal_deadlines_comes_first_is_the_seed_s_and_both_may():
    def passing(seed):
        """The tasks in their plain order, so that only the deadlines are left to decide."""
        return simulate(in_which_order_equal_deadlines_pass, seed=seed, choices=Replayed([]))

    passed = [passing(seed) for seed in range(16)]
    assert set(passed) == {(0, 1), (1, 0)}
    assert passed == [passing(seed) for seed in range(16)]


def test_a_schedule_without_choices_lets_the_eldest_go_first():
    assert simulate(in_which_order, 5, choices=Replayed([])) == (0, 1, 2, 3, 4)
    assert simulate(busy, 3, choices=Replayed([])) == [0, 1, 2] * 5


def test_a_choice_names_the_task_that_runs_next_by_its_age():
    for chosen, order in (([0, 0], "abc"), ([1, 0], "bac"), ([2, 0], "cab"), ([0, 1], "acb"), ([2, 1], "cba")):
        tasks = list("abc")
        Schedule(Replayed(chosen)).shuffle(tasks)
        assert "".join(reversed(tasks)) == order, "Trio takes them from the end"


def test_walking_through_all_choices_meets_every_order_once():
    met = [simulate(in_which_order, 3, choices=choices) for choices in walk()]
    assert set(met) == set(permutations(range(3)))
    assert len(met) % 6 == 0 and all(met.count(order) == len(met) // 6 for order in set(met))


def test_a_drawn_schedule_is_had_again_from_its_record():
    drawn = Drawn(5)
    order = simulate(busy, choices=drawn)
    again = Replayed(drawn.taken)
    assert simulate(busy, choices=again) == order
    assert again.taken == drawn.taken and again.options == drawn.options
    assert order != simulate(busy, choices=Replayed([]))


def test_an_hour_takes_no_time_and_begins_at_nought():
    async def sleep():
        began = trio.current_time()
        await trio.sleep(3600)
        return began, trio.current_time()

    assert simulate(sleep) == (0.0, 3600.0)


def test_a_clock_of_one_s_own_is_the_one_that_runs():
    clock = MockClock(autojump_threshold=0)
    clock.jump(50)

    async def now():
        return trio.current_time()

    assert simulate(now, clock=clock) == 50.0


class Broken(Exception):
    pass


def test_trio_has_its_own_back_afterwards_and_after_an_error():
    before = _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r

    async def broken():
        assert _run._r is not before[1] and _run._ALLOW_DETERMINISTIC_SCHEDULING
        raise Broken

    async def fine():
        return type(_run.GLOBAL_RUN_CONTEXT.runner.deadlines)

    ours = simulate(fine)
    assert (_run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r) == before
    with pytest.raises(Broken):
        simulate(broken, trace=Trace())
    assert (_run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r) == before
    assert trio.run(fine) is _run.Deadlines is not ours
    with pytest.raises(Broken), decided(Schedule(Replayed([]))):
        raise Broken
    assert (_run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r) == before


def test_a_trace_hears_nothing_after_its_run():
    _, trace = traced(1)
    steps, sent = trace.steps, trace.bytes
    note("sent", b"late")
    simulate(busy, seed=1)
    assert (trace.steps, trace.bytes) == (steps, sent) and sent == 6


def test_a_scope_that_moves_its_deadline_often_still_ends_on_time():
    async def moved():
        with trio.move_on_after(1e6) as scope:
            for number in range(3000):  # Trio prunes its heap of what is stale, ties and all
                scope.deadline = 1e6 + number % 3
            scope.deadline = 5.0
            await trio.sleep_forever()
        return trio.current_time()

    assert simulate(moved) == 5.0
