"""Every job that the house does by itself, as one table, and the one place where they begin.

A job that has a leader runs everywhere and works on one instance at a time: it asks for the lead of its name at each
turn, and whoever finds another leading has nothing to do until the next.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from bff.jobs import (
    probe_edge,
    probe_replays,
    probe_tenants,
    relay,
    settle_claims,
    settle_mirrors,
    tidy,
    watch_budgets,
    watch_effects,
    watch_locks,
    watch_memory,
    watch_outbox,
    watch_redis,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nurseries import Owner

Service: TypeAlias = Callable[[], Awaitable[None]]

CONTINUOUS: Final = 0.0


@dataclass(frozen=True, slots=True)
class Job:
    """`every` is in seconds between two turns, or `CONTINUOUS`. `rows` are those of the failure catalogue.

    `leads`: done by one instance at a time. `halts` are the switches that it may turn off by itself.
    """

    name: str
    every: float
    leads: bool
    rows: tuple[str, ...]
    about: str
    halts: tuple[str, ...] = ()


ROSTER: Final = (
    Job(relay.JOB, CONTINUOUS, True, ("F-21", "F-22", "F-38"), "says what is in the outbox"),
    Job("watch-outbox", watch_outbox.EVERY, False, ("F-21", "F-22", "F-38"), "counts what waits to be said"),
    Job(settle_claims.JOB, settle_claims.EVERY, True, ("F-4", "F-10", "F-32"), "finds out what nobody knows"),
    Job(watch_locks.JOB, watch_locks.EVERY, False, ("F-27",), "looks for gaps in the locks' audit trail", ("locks",)),
    Job(settle_mirrors.JOB, settle_mirrors.EVERY, True, ("F-35", "F-36"), "compares copies with their authority"),
    Job(tidy.JOB, tidy.EVERY, True, ("F-32", "F-38"), "forgets old keys and dead letters"),
    Job(watch_memory.JOB, watch_memory.EVERY, False, ("F-37",), "looks whether this process holds more and more"),
    Job(
        watch_redis.JOB, watch_redis.EVERY, False, ("F-17", "F-41"), "gives proofs less memory when there is too little"
    ),
    Job(
        watch_effects.JOB,
        watch_effects.EVERY,
        True,
        ("F-32",),
        "compares what services changed with the keys that they got",
        ("mutations",),
    ),
    Job(watch_budgets.JOB, watch_budgets.EVERY, False, ("F-39", "F-40"), "compares what is used with what may be"),
    Job(probe_edge.JOB, probe_edge.EVERY, True, ("F-23", "F-24", "F-25"), "comes here from outside, as a desk does"),
    Job(
        probe_replays.JOB,
        probe_replays.EVERY,
        False,
        ("F-28", "F-29", "F-32"),
        "uses what is this server's own twice",
        ("traffic", "sensitive", "mutations"),
    ),
    Job(
        probe_tenants.JOB,
        probe_tenants.EVERY,
        True,
        ("F-30",),
        "looks for one tenant's things as another",
        ("traffic",),
    ),
)


def begin(owner: Owner, services: Mapping[str, Service], *, jitter: Callable[[], float]) -> None:
    """Keep every job of the table going under `owner`, by the service of its name.

    Raises `KeyError` for a job without a service, `ValueError` for a service without a job, `nurseries.Full`.
    """
    strangers = services.keys() - {job.name for job in ROSTER}
    if strangers:
        raise ValueError(f"not on the roster: {', '.join(sorted(strangers))}")
    known = [(job.name, services[job.name]) for job in ROSTER]
    for name, service in known:
        owner.supervise(name, service, jitter=jitter)
