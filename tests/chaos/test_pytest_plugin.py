"""The plugin as another project has it: pytest is run in a folder that knows nothing of this one."""

import re

import pytest
import trio
from trio.testing import MockClock

from chaos.choices import Drawn
from chaos.sim.trace import Trace
from chaos.sim.watch import Stuck, Watch
from chaos.testing.twice import Parted, twice

INI = """
[pytest]
trio_mode = true
addopts = --strict-markers -p no:randomly
filterwarnings = error
"""


@pytest.fixture
def project(pytester, monkeypatch):
    """`project(tests, *options)`: what pytest says of a file of tests; no environment of ours is in it."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeini(INI)
    pytester.makeconftest('pytest_plugins = ["chaos.pytest_plugin"]')

    def run(tests, *options, name="test_desk"):
        pytester.makepyfile(**{name: tests})
        return pytester.runpytest_inprocess("-p", "no:cov", *options)

    return run


ORDERLY = """
import trio

async def test_orderly(autojump_clock, nursery):
    nursery.start_soon(trio.sleep, 3)
    await trio.sleep(1)
    print("all done")
"""

BY_ENTROPY = """
import os, trio

async def test_by_entropy(autojump_clock):
    await trio.sleep(1)
    await trio.sleep(int.from_bytes(os.urandom(8)))
"""

BY_ADDRESS = """
import trio

class Desk:
    pass

waste = []

async def test_by_address(autojump_clock):
    waste.extend(bytes(64) for _ in range(997))  # the next ones lie elsewhere
    desks = [Desk() for _ in range(50)]
    waste.extend(desks)
    names = {desk: number for number, desk in enumerate(desks)}
    async with trio.open_nursery() as nursery:
        for desk in set(desks):
            nursery.start_soon(trio.sleep, 1, name=f"desk {names[desk]}")
"""


def test_a_test_that_can_be_repeated_passes_twice_and_is_one_test(project):
    result = project(ORDERLY, "--determinism=double", "-s")
    result.assert_outcomes(passed=1)
    assert result.stdout.str().count("all done") == 2


@pytest.mark.parametrize("tests", [BY_ENTROPY, BY_ADDRESS], ids=["entropy", "address"])
def test_a_test_whose_two_runs_differ_fails_and_says_from_which_step_on(project, tests):
    result = project(tests, "--determinism=double")
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines([r"the two runs differ from step \d+ on", r"  both ", r"  first ", r"  second "])
    result.stdout.no_fnmatch_line("*traceback*")


@pytest.mark.parametrize(
    ("ci", "options", "runs"),
    [
        (None, (), 1),
        ("", (), 1),
        ("true", (), 2),
        ("true", ("--determinism=single",), 1),
        (None, ("--determinism=double",), 2),
    ],
)
def test_ci_asks_for_two_runs_and_an_option_outranks_it(project, monkeypatch, ci, options, runs):
    if ci is not None:
        monkeypatch.setenv("CI", ci)
    result = project(ORDERLY, "-s", *options)
    assert result.stdout.str().count("all done") == runs


def test_the_fixtures_of_a_test_begin_and_end_in_an_order_that_can_be_repeated(project):
    fixture = """
@pytest.fixture
async def room_{0}(house):
    waste.extend(bytearray(64) for _ in range({0} + next(count)))  # the next one lies elsewhere
    await trio.sleep(1)
    yield {0}
    await trio.sleep(1)
"""
    rooms = [f"room_{number}" for number in range(9)]
    tests = f"""
import itertools, pytest, trio

waste, count = [], itertools.count()

@pytest.fixture
async def house():
    await trio.sleep(1)
{"".join(fixture.format(number) for number in range(9))}
async def test_rooms(autojump_clock, {", ".join(rooms)}):
    assert [{", ".join(rooms)}] == list(range(9))
"""
    project(tests, "--determinism=double").assert_outcomes(passed=1)


def test_each_of_the_two_runs_has_its_own_fixtures_and_instance_and_shares_those_of_the_module(project):
    tests = """
import pytest, trio

@pytest.fixture(scope="module")
def house():
    print("<house>")
    yield
    print("</house>")

@pytest.fixture
async def room(house):
    print("<room>")
    yield
    print("</room>")

class TestRoom:
    async def test_room(self, autojump_clock, room):
        assert not hasattr(self, "seen")
        self.seen = True
"""
    result = project(tests, "--determinism=double", "-s")
    result.assert_outcomes(passed=1)
    said = [line.split()[-1] for line in result.outlines if ">" in line]
    assert said == ["<house>", "<room>", "</room>", "<room>", "</room>", ".</house>"]


def test_a_test_that_fails_once_of_two_times_says_so(project):
    tests = """
runs = []

async def test_first_only(autojump_clock):
    runs.append(1)
    assert len(runs) != 1, "a cold start"

async def test_second_only(autojump_clock):
    runs.append(1)
    assert len(runs) != 4, "a warm one"
"""
    result = project(tests, "--determinism=double")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*it failed the first time, and not the second:", "*a cold start*"])
    result.stdout.fnmatch_lines(["*a warm one*", "*the first run of the two*", "it passed"])


def test_what_is_real_or_has_no_clock_is_left_to_chance_and_runs_once(project):
    tests = """
import os, pytest, trio

@pytest.mark.real
async def test_real(autojump_clock):
    await trio.sleep(int.from_bytes(os.urandom(4)))

async def test_no_clock():
    for _ in range(os.urandom(1)[0]):
        await trio.lowlevel.checkpoint()

def test_not_async(autojump_clock):
    os.urandom(4)
"""
    project(tests, "--determinism=double").assert_outcomes(passed=3)


SEEDED = """
import pytest, trio

@pytest.mark.seeds(3)
async def test_rooms(autojump_clock, seed):
    order = []

    async def desk(number):
        order.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(desk, number)
    print("order", seed, order)

@pytest.mark.seeds(2)
async def test_without_its_seed(autojump_clock):
    pass

async def test_one(autojump_clock, seed):
    print("one", seed)
"""


def orders(result):
    return dict(re.findall(r"order (\d+) (\[.*\])", result.stdout.str()))


def test_seeds_are_in_the_name_of_a_test_and_decide_its_schedule(project):
    first = project(SEEDED, "-s", "-v")
    first.assert_outcomes(passed=6)
    first.stdout.fnmatch_lines(
        ["*::test_rooms?seed0?*", "*::test_rooms?seed2?*", "*::test_without_its_seed?seed1?*", "*one 0*"]
    )
    assert len(set(orders(first).values())) == 3
    assert orders(project(SEEDED, "-s")) == orders(first)


def test_a_seed_that_is_told_is_the_only_one(project):
    result = project(SEEDED, "-s", "-v", "--seed", "2")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*::test_rooms?seed2?*", "*one 2*"])
    assert orders(result) == {"2": orders(project(SEEDED, "-s"))["2"]}


FAILING = """
import pytest, trio

async def late():
    await trio.sleep(3)
    raise ValueError("too late")

@pytest.mark.seeds(2)
async def test_late(autojump_clock, seed):
    with trio.CancelScope(deadline=trio.current_time() + 50):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 10, name="the sleeper")
            nursery.start_soon(late)
            await trio.sleep_forever()
"""


def test_a_failure_shows_the_tasks_as_they_were_and_ends_with_the_command_that_has_it_again(project):
    result = project(FAILING, "--determinism=double")
    result.assert_outcomes(failed=2)
    shown = [
        "*tasks at the moment of failure*",
        "*told to stop*test_desk.py:test_late:*",
        "*the sleeper  told to stop, 7.000 s before its deadline  at *",
    ]
    result.stdout.fnmatch_lines([*shown, "*to have it again*"])
    command = "  pytest 'test_desk.py::test_late[[]seed1]' --seed 1 --determinism=double"
    result.stdout.fnmatch_lines(["test_desk.py::test_late[[]seed1], by seed 1", command])


def test_that_command_has_it_again_and_nothing_else(project):
    project(FAILING, "test_desk.py::test_late[seed1]", "--seed", "1").assert_outcomes(failed=1)


def test_a_failure_that_was_expected_is_not_the_moment(project):
    tests = """
import pytest, trio

async def late(seconds, what):
    await trio.sleep(seconds)
    raise what

async def test_two(autojump_clock):
    with pytest.RaisesGroup(ValueError):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever, name="of the first")
            nursery.start_soon(late, 1, ValueError())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever, name="of the second")
        nursery.start_soon(late, 1, KeyError())
"""
    result = project(tests)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*of the second*told to stop*"])
    result.stdout.no_fnmatch_line("*of the first*told to stop*")


def test_a_run_in_which_nothing_can_happen_any_more_is_cut_and_shows_who_waits(project):
    tests = """
import trio

async def test_hangs(autojump_clock):
    await trio.sleep(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.Event().wait, name="a desk nobody answers")
"""
    result = project(tests)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Stuck: every task waits*", "*a desk nobody answers  no deadline*", "*--seed 0"])


def test_a_run_that_is_interrupted_shows_the_tasks_and_the_command(project, pytester):
    pytester.makepyfile(
        test_desk="""
import signal, trio

async def test_cut(autojump_clock):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever, name="the sleeper")
        with trio.CancelScope(deadline=trio.current_time() + 1_000_000):
            while True:
                await trio.sleep(1)
                if trio.current_time() > 10:
                    signal.raise_signal(signal.SIGINT)
"""
    )
    result = pytester.runpytest_subprocess("-p", "no:cov", timeout=30)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    shown = ["*tasks when it was cut*", "*test_cut*", "*the sleeper*", "*to have it again*"]
    result.stdout.fnmatch_lines([*shown, "  pytest test_desk.py::test_cut --seed 0"])


def test_a_plain_function_simulates_by_the_seed_of_its_test_and_twice(project):
    tests = """
import os
import pytest, trio
from hypothesis import given, settings, strategies as st

async def now(seconds):
    await trio.sleep(seconds)
    return trio.current_time()

@settings(max_examples=5, deadline=None, database=None)
@given(st.integers(1, 9))
def test_examples(simulate, seconds):
    assert simulate(now, seconds) == seconds

async def chance():
    await trio.sleep(int.from_bytes(os.urandom(8)))

def test_chance(simulate):
    simulate(chance)

def test_chance_by_its_own_seed(simulate):
    simulate(chance, seed=5)

async def hangs():
    await trio.sleep_forever()

def test_hangs(simulate):
    simulate(hangs)
"""
    result = project(tests, "--determinism=double", "--seed", "3")
    result.assert_outcomes(passed=1, failed=3)
    result.stdout.fnmatch_lines(["*Parted: by seed 3, the two runs differ from step*"])
    result.stdout.fnmatch_lines(["*Parted: by seed 5, the two runs differ from step*", "*tasks at the moment*"])
    result.stdout.fnmatch_lines(["  pytest test_desk.py::test_chance --seed 3 --determinism=double"])


THEATRE = """
from contextlib import asynccontextmanager

import pytest, trio

from chaos.play import Cast

class Rooms:
    "A stage with two services; desks look at both, and a look hangs while one of them is down."

    def __init__(self):
        self.down = set()

    async def inject(self, target, toxic):
        self.down.add(target)

    async def clear(self, target, toxic=None):
        self.down -= {target} if target else self.down.copy()

async def looks(stage, history, work):
    while True:
        await trio.sleep(work.number("every", 1))
        history.note("desk", "look", ",".join(sorted(stage.down)), good="pricing" not in stage.down)

def priced():
    return lambda moment: "no price" if moment.good is False else None

@pytest.fixture(scope="session")
def theatre():
    @asynccontextmanager
    async def opened(seed):
        print("theatre by seed", seed)
        yield Rooms(), Cast({"looks": looks}, {"priced": priced}, {"looked": lambda history: ""})

    return opened

PLAN = '''
plan    Two services go
lasts   60, then 10 of calm
work    looks desks=6 every=2
fault   pricing hang from 10 until 20
fault   rooms hang from 15 until 40
always  priced
eventually  looked within 5
'''
"""
PLAY = """
def test_prices(play_plan):
    play_plan(PLAN)

def test_rooms(play_plan):
    played = play_plan(PLAN.replace("pricing", "billing"), seed=9)
    assert played.held and len(played.moments) > 30
"""


def test_a_plan_that_breaks_a_promise_is_shrunk_and_can_be_played_again(project, pytester):
    result = project(THEATRE + PLAY, "--determinism=double", "--seed", "4", "-rP")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.re_match_lines([r"\d broken of what the plan promises:", r"  1\d\.000 s  priced: no price"])
    result.stdout.fnmatch_lines(["*theatre by seed 9"])
    ending = result.stdout.str().partition("to have it again")[2]
    assert "test_desk.py::test_prices, by seed 4; it takes no more than" in ending
    assert re.findall(r"fault +(\w+)", ending) == ["pricing"]
    assert "eventually" not in ending and "desks=1" in ending
    file = re.search(r"--plan (\S+)", ending)[1]
    assert f"pytest test_desk.py::test_prices --seed 4 --determinism=double --plan {file}\n" in ending

    once_more = project(THEATRE + PLAY, "--seed", "4", "--plan", file, "-k", "prices", "--determinism=single")
    once_more.assert_outcomes(failed=1, deselected=1)
    once_more.stdout.re_match_lines([r"1 broken of what the plan promises:"])


def test_a_project_without_a_theatre_is_told_what_one_is(project):
    result = project("def test_plan(play_plan):\n    pass\n")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["play_plan needs a fixture `theatre`: theatre(seed) -> async with*"])


# What the plugin stands on


async def drifting(by):
    await trio.sleep(next(by))


def test_a_second_run_has_the_choices_and_the_kind_of_clock_of_the_first():
    seen = []

    async def main():
        seen.append(trio.lowlevel.current_clock().autojump_threshold)
        async with trio.open_nursery() as nursery:
            for number in range(9):
                nursery.start_soon(trio.lowlevel.checkpoint, name=f"desk {number}")
        await trio.sleep(1)

    kept = Trace()
    twice(main, choices=Drawn(3), trace=kept, clock=MockClock(autojump_threshold=0.001))
    assert seen == [0.001, 0.001]
    assert kept.steps > 18


def test_runs_that_part_beyond_what_is_kept_part_nevertheless():
    with pytest.raises(Parted, match="by seed 0, the two runs differ, after the 2 steps that were kept"):
        twice(drifting, iter([1, 2]), trace=Trace(keep=2))


def test_a_second_run_that_fails_alone_is_a_difference():
    with pytest.raises(Parted, match="by seed 6, the two runs differ from step"):
        twice(drifting, iter([1]), seed=6)


def test_a_run_that_waits_for_a_thread_is_not_stuck():
    event = trio.Event()

    async def main():
        await trio.to_thread.run_sync(pow, 7, 7**6, 7**7)
        with trio.CancelScope() as scope:
            scope.cancel()
            await event.wait()
        return "done"

    assert Watch().simulate(main) == "done"


def test_who_cleans_up_badly_when_it_is_cut_was_stuck_all_the_same():
    async def main():
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError

    watch = Watch()
    with pytest.raises(Stuck):
        watch.simulate(main)
    assert "main" in watch.alive


ON_THE_NETWORK = """
import trio
from chaos.toxics import Drip

async def echo(stream):
    async for data in stream:
        await stream.send_all(data)

async def test_echo(autojump_clock, nursery, network):
    network.listen("rooms", 80, echo, nursery)
    desk = await network.host("desk").connect("rooms", 80, None)
    with network.inject("rooms", Drip(bytes_per_second=2, rate=0.5)), trio.fail_after(60):
        await desk.send_all(b"hello")
        received = b""
        while received != b"hello":
            received += await desk.receive_some()
    print(f"took {trio.current_time():.1f} s")
"""


def test_another_project_has_a_network_whose_faults_are_its_tests_seeds(project):
    took = set()
    for seed in range(6):
        result = project(ON_THE_NETWORK, "--determinism=double", "-rP", "--seed", seed)
        result.assert_outcomes(passed=1)
        took |= set(re.findall(r"took [\d.]+ s", result.stdout.str()))
    assert len(took) == 2, "by some seeds the drip falls on the line, by others it does not"
