"""For pytest: tests in virtual time run by a seed, run again by the same seed, and say how to be had again.

    pytest_plugins = ["chaos.pytest_plugin"]        in the topmost conftest.py; pytest-trio is needed beside it

A *virtual test* is an async test that asks for `autojump_clock` of pytest-trio: a seed decides its schedule. One that
has real threads, processes or sockets in it is marked `real`, and left to chance.

    @pytest.mark.seeds(20)      run it by each of the seeds 0 to 19; the fixture `seed` is the one it runs by, else 0
    --seed 7                    run everything by this one
    --determinism=double        run each virtual test twice, fail it where the runs differ; the default where CI is set
    network                     hosts, listeners and what goes wrong between them, by the test's seed
    simulate(main, …)           the same for a plain function, such as an example of hypothesis
    play_plan(plan)             plays a plan in the project's `theatre`, and shrinks one that breaks a promise
    --plan FILE                 plays that one instead

A failure shows the tasks that were alive, where, and under which deadline, and ends with the command that has it again.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pytest
from _pytest.runner import runtestprotocol

from chaos.plan import Plan, parse_plan, read_plan
from chaos.sim.link import Network
from chaos.sim.trace import KEPT, Trace
from chaos.sim.watch import Watch, parts_of
from chaos.testing.again import SEED, again, save_plan, say_again
from chaos.testing.in_order import fixtures_in_order
from chaos.testing.rehearsal import findings_of, rehearse, smallest
from chaos.testing.twice import parting, twice

if TYPE_CHECKING:
    import trio
    from trio.testing import MockClock

    from chaos.choices import Choices
    from chaos.play import Played

T = TypeVar("T")

DETERMINISM: Final = "--determinism"
PLAN: Final = "--plan"


@dataclass(slots=True)
class Run:
    """One run of one test. `before` is the first where this is the second, and `differs` how it differs from it."""

    seed: int
    trace: Trace | None = None
    watch: Watch = field(default_factory=Watch)
    before: Run | None = None
    failed: str = ""
    differs: str = ""
    shrunk: Plan | None = None


_virtual: Final = pytest.StashKey[bool]()
_run: Final = pytest.StashKey[Run]()
_before: Final = pytest.StashKey[Run]()
_current: Final = pytest.StashKey[Run]()
_cut: Final = pytest.StashKey["tuple[dict[str, str], str]"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Three options; the marks follow below."""
    group = parser.getgroup("chaos", "virtual time")
    group.addoption(SEED, type=int, metavar="N", help="run every virtual test by this seed")
    group.addoption(
        DETERMINISM,
        choices=("double", "single"),
        help="double: run each virtual test twice, and fail it where the runs differ (the default where CI is set)",
    )
    group.addoption(PLAN, type=Path, metavar="FILE", help="what play_plan plays instead of what it is given")


def pytest_configure(config: pytest.Config) -> None:
    """Two marks."""
    config.addinivalue_line("markers", "seeds(n): run the test once by each of the seeds 0 to n-1")
    config.addinivalue_line(
        "markers", "real: threads, processes or sockets are in the test: no seed decides its schedule"
    )


def _doubled(config: pytest.Config) -> bool:
    asked = config.getoption(DETERMINISM)
    return bool(os.environ.get("CI")) if asked is None else bool(asked == "double")


# Which tests, and by which seeds


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each seed."""
    mark = metafunc.definition.get_closest_marker("seeds")
    if mark is None:
        return
    told = metafunc.config.getoption(SEED)
    seeds = list(range(*mark.args)) if told is None else [told]
    if "seed" not in metafunc.fixturenames:
        metafunc.fixturenames.append("seed")
    metafunc.parametrize("seed", seeds, ids=[f"seed{seed}" for seed in seeds], indirect=True)


@pytest.hookimpl(trylast=True)  # when pytest-trio has marked what is async
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Virtual tests get a runner of ours: pytest-trio takes the one that is marked closest to the test."""
    for item in items:
        item.stash[_virtual] = isinstance(item, pytest.Function) and _is_virtual(item)
        if item.stash[_virtual]:
            item.add_marker(pytest.mark.trio(run=partial(_simulated, item)), append=False)


def _is_virtual(item: pytest.Function) -> bool:
    is_trio = item.get_closest_marker("trio") is not None and inspect.iscoroutinefunction(item.function)
    is_real = item.get_closest_marker("real") is not None
    return is_trio and not is_real and "autojump_clock" in inspect.signature(item.function).parameters


def _seed_of(item: pytest.Item) -> int:
    if item.get_closest_marker("seeds") is not None and isinstance(item, pytest.Function):
        by: Any = item.callspec.params["seed"]
        return int(by)
    return int(item.config.getoption(SEED) or 0)


def _by_seed(item: pytest.Item) -> bool:
    """A seed decides something in it."""
    return item.stash[_virtual] or not {"simulate", "play_plan"}.isdisjoint(getattr(item, "fixturenames", ()))


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """What decides this test's schedule, and whatever else it draws."""
    return _seed_of(request.node)


@pytest.fixture
def network(seed: int) -> Network:
    """A simulated network with nobody on it yet; what it draws, it draws from this test's seed."""
    return Network(seed=seed)


# How they run


def _simulated(
    item: pytest.Item, main: Callable[[], Any], *, clock: Any = None, instruments: Sequence[Any] = ()
) -> Any:
    """What pytest-trio calls in the place of `trio.run`."""
    __tracebackhide__ = True
    run = item.stash[_run]
    with fixtures_in_order():
        return run.watch.simulate(main, seed=run.seed, trace=run.trace, clock=clock, instruments=instruments)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Two runs, each with its own fixtures; the second one is reported, and fails where it differs from the first."""
    if not (item.stash[_virtual] and _doubled(item.config)):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    told = len(item.user_properties)
    parent: Any = item.parent  # if that comes next, only what is the item's own is torn down
    reports = runtestprotocol(item, log=False, nextitem=parent)
    item.stash[_before] = item.stash[_run]
    item.stash[_before].failed = "\n".join(report.longreprtext for report in reports if report.failed)
    _renew(item, told)
    runtestprotocol(item, nextitem=nextitem)
    del item.stash[_before], item.stash[_run]
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _renew(item: pytest.Item, told: int) -> None:
    """As if it had not run: an instance of its own, a function that nobody has wrapped, and nothing to report."""
    for made in ("_obj", "_instance"):
        item.__dict__.pop(made, None)
    item._report_sections.clear()
    del item.user_properties[told:]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A run begins."""
    trace = Trace(keep=KEPT) if item.stash[_virtual] and _doubled(item.config) else None
    item.stash[_run] = Run(_seed_of(item), trace, before=item.stash.get(_before, None))
    item.config.stash[_current] = item.stash[_run]


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before pytest-trio puts something around the function
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """The run itself, and what it is compared with."""
    run = item.stash[_run]
    if item.stash[_virtual] and isinstance(item, pytest.Function):
        item.obj = _looked_upon(item.obj, run.watch)
    try:
        yield
    except (KeyboardInterrupt, BaseExceptionGroup) as error:
        if not any(isinstance(part, KeyboardInterrupt) for part in parts_of(error)):
            raise
        if _by_seed(item):
            item.config.stash[_cut] = _again(item, run), run.watch.alive
        raise KeyboardInterrupt from None  # in a group it would be a test that failed, and pytest would go on
    if run.before is not None:
        run.differs = _compared(run.before, run)
        if run.differs:
            pytest.fail(run.differs, pytrace=False)


def _looked_upon(function: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
    @wraps(function)
    async def looked_upon(**kwargs: Any) -> Any:
        __tracebackhide__ = True
        return await watch.looking(function, **kwargs)

    return looked_upon


def _compared(first: Run, second: Run) -> str:
    assert first.trace is not None and second.trace is not None
    if first.failed:
        return f"the two runs differ: it failed the first time, and not the second:\n{first.failed}"
    return parting(first.trace, second.trace)


# For plain functions


class Simulate:
    """`chaos.sim.clock.simulate` for the test that runs: by its seed, and twice where that is asked for.

    `main` is called twice then: what it writes to, it makes itself.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def __call__(
        self,
        main: Callable[..., Awaitable[T]],
        *args: object,
        seed: int | None = None,
        choices: Choices | None = None,
        trace: Trace | None = None,
        clock: MockClock | None = None,
        instruments: Sequence[trio.abc.Instrument] = (),
    ) -> T:
        __tracebackhide__ = True
        run = self._config.stash[_current]
        by = run.seed if seed is None else seed
        runs = partial(twice, watch=run.watch) if _doubled(self._config) else run.watch.simulate
        return runs(main, *args, seed=by, choices=choices, trace=trace, clock=clock, instruments=instruments)


@pytest.fixture(scope="session")  # hypothesis wants no other
def simulate(request: pytest.FixtureRequest) -> Simulate:
    """`simulate(main, *args, …)`: what `main` returns, in virtual time."""
    return Simulate(request.config)


@pytest.fixture
def play_plan(request: pytest.FixtureRequest, simulate: Simulate, seed: int) -> Callable[..., Played]:
    """`play_plan(plan or its text, *, seed=None)`: what came of it; a broken promise fails the test.

    The project's fixture `theatre` is a callable: of a seed it makes an async context manager that gives a stage and
    its cast.
    """
    try:
        theatre = request.getfixturevalue("theatre")
    except pytest.FixtureLookupError:
        pytest.fail(
            "play_plan needs a fixture `theatre`: theatre(seed) -> async with … as (stage, cast)", pytrace=False
        )
    config, played_by = request.config, seed

    def played(plan: Plan | str, *, seed: int | None = None) -> Played:
        __tracebackhide__ = True
        by = played_by if seed is None else seed
        instead: Path | None = config.getoption(PLAN)
        given = parse_plan(plan) if isinstance(plan, str) else plan
        given = given if instead is None else read_plan(instead)
        result = rehearse(given, theatre, seed=by, runs=simulate)
        if not result.held:
            config.stash[_current].shrunk = smallest(given, theatre, result, seed=by)
            pytest.fail(findings_of(result), pytrace=False)
        return result

    return played


# What is said of a failure


def _again(item: pytest.Item, run: Run) -> dict[str, str]:
    options = [f"{DETERMINISM}=double"] if _doubled(item.config) else []
    if run.shrunk is not None and (file := save_plan(item, run.shrunk)):
        options += [PLAN, file]
    return again(item, run.seed, options, str(run.shrunk or ""))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """A failure says what else there is to say of it."""
    report = yield
    run = item.stash.get(_run, None)
    if run is not None and _by_seed(item) and call.when == "call" and report.failed:
        if run.before is not None and (first := _first_of(run.before, run)):
            report.sections.append(("the first run of the two", first))
        if run.watch.alive:
            report.sections.append(("tasks at the moment of failure", run.watch.alive))
        report.to_have_it_again = _again(item, run)
    return report


def _first_of(first: Run, second: Run) -> str:
    """What it did that the second did not, where that is not the failure itself."""
    if second.differs:
        return ""
    assert first.trace is not None and second.trace is not None
    return "\n".join(["" if first.failed else "it passed", parting(first.trace, second.trace)]).strip()


@pytest.hookimpl(trylast=True)  # what is last stays on the screen
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """How to have it again."""
    command, tasks = config.stash.get(_cut, ({}, ""))
    say_again(terminalreporter, command, tasks)
