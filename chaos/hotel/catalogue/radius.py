"""How far each failure reaches: what a desk can do while it is in force, what only in part, and what is gone.

FAILURE_MODES section 3, and column *user impact* of section 1, as data: of `deeds.DEEDS` those that do not simply work,
and how they are answered, `after` so many seconds of the failure. Where one of them looks different once it has lasted
`LASTS` seconds, since what was kept is too old by then, that is in `later`. `tests/ops/test_blast_radius.py` does each
thing in a world, and compares.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from chaos.hotel.catalogue.deeds import DEEDS, UNREACHABLE, WORKS, Outcome, degraded, gone

Does: TypeAlias = Mapping[str, Outcome]

SOON: Final = 3.0  # seconds of a failure, unless what it does shows later
LASTS: Final = 600.0
MUTATIONS: Final = (
    "check-in",
    "task",
    "order",
    "charge",
    "refund",
    "lock issue",
    "lock revoke",
    "alert ack",
    "save preferences",
)
SENSITIVE: Final = ("refund", "lock revoke")
LOCKS: Final = ("lock issue", "lock revoke")
HEARING: Final = ("events", "poll")

UNAVAILABLE: Final = gone(502, "UPSTREAM_UNAVAILABLE")
UNKNOWN: Final = gone(504, "UPSTREAM_TIMEOUT")
NO_TIER: Final = gone(503, "CACHE_UNAVAILABLE")
NO_LEDGER: Final = gone(503, "STORE_UNAVAILABLE")
HALTED: Final = gone(503, "HALTED")
FROZEN: Final = gone(503, "LOCK_PROXY_FROZEN")
WALLED: Final = gone(403, "403")
NOBODY: Final = Outcome("gone", UNREACHABLE)
PUSHED_AGAIN: Final = gone(503, "503")  # the platform is: Pub/Sub says it again until it is taken
STALE: Final = degraded("stale")
BY_THE_END: Final = degraded("told by its stream's end")


def _all(names: Iterable[str], outcome: Outcome) -> dict[str, Outcome]:
    return dict.fromkeys(names, outcome)


def without(*widgets: str) -> Outcome:
    """A dashboard on which these are skeletons, or not there at all."""
    return degraded(f"without {' '.join(sorted(widgets))}")


def aged(*widgets: str) -> Outcome:
    """A dashboard on which these are older than they should be."""
    return degraded(f"stale {' '.join(sorted(widgets))}")


@dataclass(frozen=True, slots=True)
class Radius:
    """What does not simply work `after` so many seconds; `later` is what else is so after `LASTS`."""

    soon: Does = field(default_factory=dict)
    after: float = SOON
    later: Does = field(default_factory=dict)

    def expected(self, *, lasting: bool = False) -> dict[str, Outcome]:
        """All of `DEEDS`, soon or after it has lasted."""
        return {**_all(DEEDS, WORKS), **self.soon, **(self.later if lasting else {})}


WITHOUT_TIER: Final = {**_all(("step-up", *MUTATIONS, *HEARING), NO_TIER)}
WITHOUT_IAM: Final = {**_all(("sign-in", "refresh", "step-up", *SENSITIVE), UNAVAILABLE)}
NO_STEP_UP: Final = {**_all(("step-up", *SENSITIVE), UNAVAILABLE)}

RADIUS: Final[Mapping[str, Radius]] = {
    "F-1": Radius({"refresh": UNAVAILABLE}),
    "F-2": Radius(NO_STEP_UP),
    "F-3": Radius({"dashboard": aged("operator")}, after=90.0, later={"dashboard": without("operator")}),
    "F-4": Radius(
        {"dashboard": without("arrivals", "departures", "inHouse"), "workbench": UNAVAILABLE, "check-in": UNKNOWN}
    ),
    "F-5": Radius({"dashboard": without("occupancy")}),
    "F-6": Radius({"dashboard": without("rateSnapshot")}),
    "F-7": Radius(
        {"dashboard": aged("housekeeping"), "housekeeping board": STALE, "task": UNKNOWN},
        later={"dashboard": without("housekeeping"), "housekeeping board": UNAVAILABLE},
    ),
    "F-8": Radius(
        {"dashboard": aged("maintenance"), "maintenance board": STALE, "order": UNKNOWN},
        later={"dashboard": without("maintenance"), "maintenance board": UNAVAILABLE},
    ),
    "F-9": Radius({"dashboard": without("folioSummary"), "folio": UNAVAILABLE, "charge": UNKNOWN, "refund": UNKNOWN}),
    "F-10": Radius(_all(LOCKS, UNAVAILABLE)),
    "F-11": Radius({"dashboard": without("ai")}),
    "F-12": Radius(
        {"dashboard": aged("alerts"), "inbox": STALE, "alert ack": UNKNOWN},
        later={"dashboard": without("alerts"), "inbox": UNAVAILABLE},
    ),
    "F-13": Radius({"handshake": UNAVAILABLE}),
    "F-14": Radius({"dashboard": without("kpis")}),
    "F-15": Radius({"dashboard": without("rateSnapshot")}),
    "F-16": Radius({"dashboard": aged("property"), "workbench": STALE}, after=330.0),
    "F-17": Radius(),
    "F-18": Radius({**WITHOUT_TIER, "force-logout": PUSHED_AGAIN}),
    "F-19": Radius(),
    "F-20": Radius(_all(MUTATIONS, NO_LEDGER)),
    "F-21": Radius(),
    "F-22": Radius(),
    "F-23": Radius(_all(DEEDS, NOBODY)),
    "F-24": Radius(_all(DEEDS, WALLED)),
    "F-25": Radius(_all(DEEDS, NOBODY)),
    "F-26": Radius(),
    "F-27": Radius(_all(LOCKS, FROZEN), after=80.0),
    "F-28": Radius(_all(DEEDS, HALTED), after=65.0),
    "F-29": Radius(_all(SENSITIVE, HALTED), after=65.0),
    "F-30": Radius(),
    "F-31": Radius({"force-logout": BY_THE_END}),
    "F-32": Radius(_all(MUTATIONS, HALTED), after=65.0),
    "F-33": Radius({"dashboard": without("rateSnapshot")}),
    "F-34": Radius({"events": degraded("silent after bus-stalled"), "force-logout": BY_THE_END}),
    "F-35": Radius({"dashboard": aged("sync"), "handshake": degraded("stale sync")}, after=130.0),
    "F-36": Radius(
        {"preferences": STALE, "save preferences": gone(503, "PREFERENCES_UNAVAILABLE")},
        later={"dashboard": without("operator")},
    ),
    "F-37": Radius(),
    "F-38": Radius(),
    "F-39": Radius(),
    "F-40": Radius(),
    "F-41": Radius(WITHOUT_TIER),
}
"""By row. What is staged in F-33 is one service; a dashboard loses more where more do not answer, and is as much in
time. F-17, F-26 and F-30 cost a desk nothing that it could see: more calls to services, a flood that takes no place of
its own, an answer of another tenant's that is thrown away. F-27 to F-29 and F-32 are as a job leaves them that has
found the mistake: halted, until a person says otherwise."""
