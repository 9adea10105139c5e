"""A plan on the stage of a project, in virtual time; and when it breaks a promise, the smallest that still does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final, Protocol

from chaos.play import play
from chaos.shrink import shrink_break
from chaos.sim.watch import Watch

if TYPE_CHECKING:
    from chaos.history import Finding
    from chaos.plan import Plan
    from chaos.play import Cast, Played

# What a project's fixture `theatre` is: by a seed, a stage that is open while inside, and the cast that plays on it.
Theatre = Callable[[int], AbstractAsyncContextManager["tuple[Any, Cast[Any]]"]]
TRIES: Final = 200  # runs that shrinking may take


class Runs(Protocol):
    """`simulate`, or what has its signature."""

    def __call__(self, main: Callable[[], Any], *, seed: int) -> Any: ...


def rehearse(plan: Plan, theatre: Theatre, *, seed: int, runs: Runs) -> Played:
    """Play `plan` from its beginning to its end. Raises what `play` raises, and whatever the theatre does."""

    async def performance() -> Played:
        async with theatre(seed) as (stage, cast):
            return await play(plan, stage, cast)

    played: Played = runs(performance, seed=seed)
    return played


def smallest(plan: Plan, theatre: Theatre, played: Played, *, seed: int) -> Plan:
    """The smallest plan by which one of the promises is broken that `plan` broke.

    A plan that ends in an error broke something else, and is none. Raises `ValueError` where `plan` itself breaks
    none of them any more.
    """

    def findings(candidate: Plan) -> Sequence[Finding]:
        try:
            return rehearse(candidate, theatre, seed=seed, runs=Watch().simulate).findings
        except Exception:
            return ()

    return shrink_break(plan, played.findings, findings, most=TRIES)


def findings_of(played: Played) -> str:
    """What was found, a line each, with its second."""
    lines = [f"  {finding.at:.3f} s  {finding.check}: {finding.text}" for finding in played.findings]
    return "\n".join([f"{len(lines)} broken of what the plan promises:", *lines])
