"""What the session tier does to the bus and the registry in a sweep of streams: to all servers, or to one's line alone.

    kill, stop, slow, lose-answer, failover …    the tier itself, for all servers
    overrun                                      what has gone by, and what is in the logs, is gone
    deaf, hang, lose-answer at a server          its own line to the bus alone

Each goes on for as long as it lasts, and ends with the tier as it was.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from bff.stores.bus import Posting
from chaos.hotel.sweeps.airing import SERVERS
from nurseries import within

if TYPE_CHECKING:
    from chaos.hotel.stores.lines import Trouble
    from chaos.hotel.sweeps.airing import Airing

LASTS: Final = 4.0  # seconds that a fault lasts which has an end
SLOW: Final = 0.3  # seconds for a call, of the half second that is waited for it; and
LOSES: Final = 0.8  # so long that it is done by then, and not answered
OVERRUN: Final = 901.0  # seconds: what is older is in no log


async def _kill(air: Airing) -> None:
    air.world.stores.tier.down()
    await trio.sleep(LASTS)
    air.world.stores.tier.start()


async def _stop(air: Airing) -> None:
    air.world.stores.tier.stop()
    await trio.sleep(LASTS)
    air.world.stores.tier.start()


async def _late(seconds: float, air: Airing) -> None:
    air.world.stores.tier.latency(seconds)
    await trio.sleep(LASTS)
    air.world.stores.tier.latency(0.0)


async def _failover(takes: float, lost: float, air: Airing) -> None:
    air.world.stores.tier.failover(lost=lost, takes=takes)
    await trio.sleep(takes)


async def _overrun(air: Airing) -> None:
    """As if a quarter of an hour had gone by in a moment, with more on the bus than it holds."""
    now = air.world.now()
    tenants = sorted({one.tenant_id for one in air.world.hotel.operators})
    marks = [Posting(tenant, f"overrun-{now}", b"", now + OVERRUN, 1.0) for tenant in tenants]  # type: ignore[arg-type]
    with within(10):
        while not isinstance(await air.bus.post(marks), tuple):  # noqa: ASYNC110  nobody tells when it can be asked
            await trio.sleep(0.1)
    air.bus.overrun()


async def _line(server: str, trouble: Trouble, air: Airing) -> None:
    line = air.lines[server]
    line.turn(trouble)
    await trio.sleep(LASTS)
    line.turn("")


FAULTS: Final[Mapping[str, Callable[[Airing], Awaitable[None]]]] = {
    "kill": _kill,
    "stop": _stop,
    "slow": partial(_late, SLOW),
    "lose-answer": partial(_late, LOSES),
    "failover": partial(_failover, 1.0, 0.0),
    "failover-lost": partial(_failover, 1.0, 2.0),
    "failover-at-once": partial(_failover, 0.0, 0.3),
    "overrun": _overrun,
    "deaf-one": partial(_line, "one", "deaf"),
    "deaf-two": partial(_line, "two", "deaf"),
    "hang-one": partial(_line, "one", "hang"),
    "lose-answer-one": partial(_line, "one", "lose-answer"),
}
DEAD: Final[Mapping[str, tuple[str, ...]]] = {
    "kill": SERVERS,
    "stop": SERVERS,
    "lose-answer": SERVERS,
    "hang-one": ("one",),
    "lose-answer-one": ("one",),
}
