"""Playing a plan: the fleet works, faults come and go, and what was promised is looked at; then calm.

    from the beginning      the works of the plan, each a task of this nursery
    from … until …          the faults, each a task of a nursery inside
    at `lasts`              whatever is still wrong is healed: the calm
    within the bounds       what `eventually` promises, or it is a finding

However a plan is left (to its end, by an error, by Ctrl-C), every fault is healed: that happens under a shield, with a
bound of its own. What broke is a finding, never an exception: a run is for what it tells.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

import trio

from chaos.history import CHECKS, FAULTS, Finding, History, Moment
from chaos.plan import BadPlan
from chaos.toxics import BadToxic
from nurseries import described, within

if TYPE_CHECKING:
    from chaos.plan import Fault, Plan, Promise, Work
    from chaos.toxics import Toxic

HEALS_WITHIN: Final = 30.0  # seconds; only a stage that is broken itself takes so long


class Stage(Protocol):
    """Where a plan is played: who breaks and who heals. Each returns when it is done.

    Raises `BadToxic` for what cannot be done here, in one line: it is left out, and the record says so.
    """

    async def inject(self, target: str, toxic: Toxic) -> object: ...

    async def clear(self, target: str | None, toxic: Toxic | None = None) -> object:
        """Heal that fault of one target, or all of them; all there is where `target` is None."""
        ...


S = TypeVar("S", bound=Stage)
S_contra = TypeVar("S_contra", bound=Stage, contravariant=True)

Judge = Callable[[Moment], "str | None"]  # what is wrong about a moment, if anything
Settled = Callable[[History], str]  # what is missing since the calm began; '' when it has come true


class Do(Protocol[S_contra]):
    """What a work does, until it is cancelled at the end of the plan."""

    def __call__(self, stage: S_contra, history: History, work: Work) -> Awaitable[None]: ...


@dataclass(frozen=True, slots=True)
class Cast(Generic[S]):
    """What there is of works and checks, by name. A judge is made anew for each run: it may remember what it saw."""

    works: Mapping[str, Do[S]] = field(default_factory=dict)
    always: Mapping[str, Callable[[], Judge]] = field(default_factory=dict)
    eventually: Mapping[str, Settled] = field(default_factory=dict)

    def check(self, plan: Plan) -> None:
        """Raises `BadPlan` for a word of the plan that nobody here knows."""
        _known("work", [work.word for work in plan.work], self.works)
        _known("always", plan.always, self.always)
        _known("eventually", [promise.check for promise in plan.eventually], self.eventually)

    def and_also(self, more: Cast[S]) -> Cast[S]:
        """Both; `more` is heard first."""
        return Cast(
            {**self.works, **more.works}, {**self.always, **more.always}, {**self.eventually, **more.eventually}
        )


def _known(field_name: str, said: Any, there: Mapping[str, Any]) -> None:
    for word in said:
        if word not in there:
            raise BadPlan(f"{field_name}: nobody knows {word!r}: there are {', '.join(there) or 'none'}")


@dataclass(frozen=True, slots=True)
class Played:
    """What came of it: `skipped` are the faults that could not be done here, a line each."""

    moments: tuple[Moment, ...]
    findings: tuple[Finding, ...]
    skipped: tuple[str, ...]

    @property
    def held(self) -> bool:
        """Every promise was kept."""
        return not self.findings


async def play(plan: Plan, stage: S, cast: Cast[S]) -> Played:
    """Play `plan` to its end. Raises `BadPlan` for a word that the cast does not know."""
    cast.check(plan)
    history = History()
    playing = _Playing(plan, stage, cast, history)
    for name in plan.always:
        playing.watch(name, cast.always[name]())
    try:
        await playing.whole()
    finally:
        if not playing.healed:  # the healing was broken off itself: by an error of the stage, by a second Ctrl-C
            await playing.heal()  # noqa: ASYNC102 - it has its own shield and bound
    return Played(tuple(history.moments), tuple(history.findings), tuple(playing.skipped))


class _Playing(Generic[S]):
    """One run of a plan."""

    def __init__(self, plan: Plan, stage: S, cast: Cast[S], history: History) -> None:
        self._plan = plan
        self._stage = stage
        self._cast = cast
        self._history = history
        self._began = trio.current_time()
        self.skipped: list[str] = []
        self.healed = False

    def watch(self, name: str, judge: Judge) -> None:
        def seen(moment: Moment) -> None:
            if moment.lane != CHECKS and (wrong := judge(moment)):
                self._history.found(name, wrong)

        self._history.watch(seen)

    async def whole(self) -> None:
        async with trio.open_nursery() as fleet:
            for work in self._plan.work:
                fleet.start_soon(self._work, work)
            try:
                async with trio.open_nursery() as faults:
                    for fault in self._plan.faults:
                        faults.start_soon(self._fault, fault)
                    await trio.sleep_until(self._began + self._plan.lasts)
                    faults.cancel_scope.cancel(reason="the calm begins")
            finally:  # before the works have ended: one that is slow to leave must not keep the faults
                in_time = await self.heal()  # noqa: ASYNC102 - it has its own shield and bound
            self._history.calm_at = self._history.elapsed()
            self._history.note(FAULTS, "calm", "everything is healed" if in_time else "the plan goes on unhealed")
            await self._calm()
            fleet.cancel_scope.cancel(reason="the plan is over")

    async def _work(self, work: Work) -> None:
        try:
            await self._cast.works[work.word](self._stage, self._history, work)
        except* Exception as errors:  # a star: what it raises while it is cancelled comes along with the cancellation
            self._history.found("work", f"{work.word} broke off: {described(errors)}")

    async def _fault(self, fault: Fault) -> None:
        try:
            await self._there_and_gone(fault)
        except BadToxic as error:
            self.skipped.append(f"{fault}: {error}")
            target, toxic = fault.target, str(fault.toxic)
            self._history.note(FAULTS, "skipped", f"{fault}: {error}", target=target, toxic=toxic)

    async def _there_and_gone(self, fault: Fault) -> None:
        def note(word: str) -> None:
            target, toxic = fault.target, str(fault.toxic)
            self._history.note(FAULTS, word, f"{target} {toxic}", target=target, toxic=toxic)

        await trio.sleep_until(self._began + fault.begins)
        note("breaking")  # what it does may be seen before whoever does it has said that it is done
        await self._stage.inject(fault.target, fault.toxic)
        note("begins")
        if fault.ends < math.inf:
            await trio.sleep_until(self._began + fault.ends)
            await self._stage.clear(fault.target, fault.toxic)
            note("ends")

    async def heal(self) -> bool:
        """Heal everything, whatever has been cancelled. False, and a finding, where that is not done in time."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + HEALS_WITHIN) as healing:
            await self._stage.clear(None)
        if healing.cancelled_caught:
            self._history.found("heal", f"not healed within {HEALS_WITHIN:.0f} s")
        self.healed = True
        return not healing.cancelled_caught

    async def _calm(self) -> None:
        """The whole of the calm: promises come true one beside the other, each within its own bound."""
        until = trio.current_time() + self._plan.calm
        async with trio.open_nursery() as promises:
            for promise in self._plan.eventually:
                promises.start_soon(self._promise, promise)
        await trio.sleep_until(until)

    async def _promise(self, promise: Promise) -> None:
        settled = self._cast.eventually[promise.check]
        news = trio.Event()

        def seen(_: Moment) -> None:
            news.set()

        self._history.watch(seen)
        missing = settled(self._history)
        with within(promise.within):
            while missing:
                await news.wait()
                news = trio.Event()
                missing = settled(self._history)
        if missing := missing and settled(self._history):  # once more: time alone may have brought it about
            self._history.found(promise.check, f"not within {promise.within:g} s of calm: {missing}")
        else:
            after = self._history.elapsed() - (self._history.calm_at or 0.0)
            self._history.note(CHECKS, promise.check, f"true after {after:.3f} s of calm", good=True, after=after)
