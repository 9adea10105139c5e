"""How long it takes until a failure shows: the P1 rows, each played in a world of its own (MTTD of FAILURE_MODES 4).

    desks look and change things ──► 61 s ──► the fault ──► each second: does the row's metric show it? ──► so long

What is measured is from the fault to the moment at which the server's own metrics say so, whoever reads them. Jobs
that look once a minute look for the first time after one: the fault comes right behind that look, so that it takes as
long as it can. Prometheus adds at most its interval to it, and the rule its own `for`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from chaos.hotel.catalogue import ROWS
from chaos.hotel.catalogue.faults import KNOWN_AS, in_force
from chaos.hotel.catalogue.row import Severity
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.stage import virtual_stage
from chaos.hotel.world import open_world
from chaos.sim.clock import simulate

if TYPE_CHECKING:
    from bff.meters import Meters
    from chaos.hotel.fleet.desk import Desk

CALM: Final = 61.0  # seconds: a job that looks each minute has just looked
EVERY: Final = 5.0  # seconds between two things that a desk does
LOOKS: Final = 1.0  # seconds between two looks at the metrics
PATIENCE: Final = 300.0  # seconds, after which a failure counts as one that does not show
ANSWERS_TAKE: Final = (0.005, 0.05)  # seconds: as services in one region answer
KEY: Final = {"reservationId": "r-00870", "validUntil": "2015-08-16T12:00:00Z"}
CHARGE: Final = {"amountMinor": 700, "currency": "EUR", "description": "Minibar"}
Series = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sign:
    """What shows a failure: the sum of `metric` where it has `labels` and not `never`, and when that is too much."""

    metric: str
    labels: Series
    is_wrong: Callable[[float, float], bool]  # of now, and of the moment of the fault
    never: Series = field(default_factory=dict)

    def __str__(self) -> str:
        has = [f'{name}="{value}"' for name, value in self.labels.items()]
        has += [f'{name}!="{value}"' for name, value in self.never.items()]
        return f"{self.metric}{{{','.join(has)}}}" if has else self.metric


def _more(now: float, then: float) -> bool:
    return now > then


def _zero(now: float, then: float) -> bool:
    return now == 0 and then > 0


def _below(limit: float) -> Callable[[float, float], bool]:
    return lambda now, _: now < limit


def _fails(service: str) -> Sign:
    return Sign("bff_upstream_calls_total", {"service": service}, _more, never={"outcome": "ok"})


def _again(what: str) -> Sign:
    return Sign("bff_replay_probe_total", {"what": what, "passed": "True"}, _more)


SIGNS: Final[Mapping[str, Sign]] = {
    "F-4": _fails("reservation"),
    "F-10": _fails("lock-integration"),
    "F-18": Sign("bff_store_up", {"store": "redis-session"}, _zero),
    "F-20": Sign("bff_store_up", {"store": "postgres"}, _zero),
    "F-23": Sign("bff_edge_certificate_left_seconds", {"name": "fallback"}, _below(0.0)),
    "F-25": Sign("bff_edge_probe_up", {"name": "public"}, _zero),
    "F-27": Sign("bff_lock_audit_completeness", {}, _below(1.0)),
    "F-28": _again("proof"),
    "F-29": Sign("bff_mfa_attestation_replay_success_total", {}, _more),
    "F-30": Sign("bff_tenant_probe_leaks_total", {}, _more),
    "F-32": _again("key"),
    "F-33": Sign("bff_dashboard_partial_total", {}, _more),
}
P1: Final = tuple(row.id for row in ROWS if row.severity is Severity.P1)


def total(meters: Meters, sign: Sign) -> float:
    """What the metric of `sign` says now."""
    samples = (one for family in meters.registry.collect() for one in family.samples if one.name == sign.metric)
    fits = (
        one.value
        for one in samples
        if all(one.labels.get(name) == value for name, value in sign.labels.items())
        and not any(one.labels.get(name) == value for name, value in sign.never.items())
    )
    return float(sum(fits))


def seconds_until_shown(row: str, *, seed: int = 0) -> float | None:
    """From the fault of a P1 row to its sign, in virtual seconds; None where nothing shows within `PATIENCE`."""
    return simulate(partial(_played, row, seed), seed=seed)


async def _played(row: str, seed: int) -> float | None:
    sign = SIGNS[row]
    async with (
        open_world(seed=seed, answers_take=ANSWERS_TAKE, known_as=KNOWN_AS) as world,
        trio.open_nursery() as all_day,
    ):
        with virtual_stage(world):
            for number in range(2):
                all_day.start_soon(_works, await world.desk(device=f"day-{number}"), number)
            await trio.sleep(CALM)
            then = total(world.meters, sign)
            async with in_force(row, world):
                took = await _shown(world.meters, sign, then)
            all_day.cancel_scope.cancel(reason="it was seen")
    return took


async def _shown(meters: Meters, sign: Sign, then: float) -> float | None:
    began = trio.current_time()
    while trio.current_time() - began < PATIENCE:
        if sign.is_wrong(total(meters, sign), then):
            return trio.current_time() - began
        await trio.sleep(LOOKS)
    return None


async def _works(desk: Desk, number: int) -> None:
    """Looks, charges and cuts keys, whatever becomes of it."""
    turn = 0
    while True:
        turn += 1
        with suppress(Refused):
            await desk.dashboard()
        with suppress(Refused):
            await desk.change("/v1/folios/f-00870/charges", CHARGE, f"charge-{number}-{turn}")
        with suppress(Refused):
            await desk.change("/v1/locks/lock-praia-103/keys", KEY, f"key-{number}-{turn}")
        await trio.sleep(EVERY)
