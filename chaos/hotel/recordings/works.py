"""What desks do all day while a scene is filmed: each thing again and again, to the second.

Who is refused goes on as if nothing had been: a fleet of desktops does not stop for an outage.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Final

import trio

from chaos.hotel.estate.hotel import build_hotel
from chaos.hotel.fleet.changing import Changing
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.stage import signed_in

if TYPE_CHECKING:
    from chaos.hotel.fleet.desk import Desk
    from chaos.hotel.recordings.scene import Set, Work

    Once = Callable[[Desk, str], Awaitable[None]]


RENEWS: Final = 600.0  # seconds after which a desk has new tokens


def looks(desks: int = 2, every: float = 15.0) -> Work:
    """So many desks look at their dashboards."""

    async def look(desk: Desk, _: str) -> None:
        await desk.dashboard()

    return partial(_many, "looks", desks, every, look)


def renews(desks: int = 1, every: float = 15.0) -> Work:
    """Desks renew their tokens."""

    async def renew(desk: Desk, _: str) -> None:
        await desk.renew()

    return partial(_many, "renews", desks, every, renew)


def steps_up(desks: int = 1, every: float = 15.0) -> Work:
    """Operators show their second factor."""
    folio = Changing(build_hotel().operators[0]).next("folio.refund").attests

    async def step_up(desk: Desk, code: str) -> None:
        await desk.step_up("folio.refund", folio, code)

    return partial(_many, "steps-up", desks, every, step_up)


def comes_back(desks: int = 1, every: float = 15.0) -> Work:
    """Desktops reconnect: a handshake with sync-service."""

    async def handshake(desk: Desk, _: str) -> None:
        await desk.ask("POST", "/v1/sync/handshake", body={"cursor": None})

    return partial(_many, "syncs", desks, every, handshake)


def prefers(desks: int = 1, every: float = 15.0) -> Work:
    """Desks read their operators' preferences."""

    async def prefer(desk: Desk, _: str) -> None:
        await desk.get("/v1/preferences")

    return partial(_many, "prefers", desks, every, prefer)


def changes(action: str, every: float = 15.0) -> Work:
    """A desk changes something, each time another thing."""
    return partial(_change_on, action, every)


async def _many(name: str, desks: int, every: float, once: Once, here: Set) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(desks):
            nursery.start_soon(_seated, f"{name}-{number + 1}", number, every, once, here)


async def _seated(name: str, number: int, every: float, once: Once, here: Set) -> None:
    turn = trio.current_time() + every / 2
    desk = await signed_in(here.stage, name, number)
    code, renew_at = here.stage.second_factor(number), trio.current_time() + RENEWS

    async def fresh() -> None:
        nonlocal renew_at
        if trio.current_time() >= renew_at:
            renew_at = trio.current_time() + RENEWS
            await desk.renew()
        await once(desk, code)

    await _again(turn, every, fresh)


async def _change_on(action: str, every: float, here: Set) -> None:
    turn = trio.current_time() + every / 2
    desk = await signed_in(here.stage, f"changes-{action.replace('.', '-')}", 0)
    changing, number = Changing(here.world.hotel.operators[0]), count(1)

    async def once() -> None:
        change = changing.next(action)
        code = here.stage.second_factor(0)
        attestation = await desk.step_up(action, change.attests, code) if change.attests else None
        key = f"{action}-{next(number)}"
        await desk.change(change.path, change.body, key, method=change.method, attestation=attestation)

    await _again(turn, every, once)


async def _again(turn: float, every: float, once: Callable[[], Awaitable[None]]) -> None:
    while True:
        await trio.sleep_until(turn)
        with suppress(Refused):
            await once()
        turn = max(turn + every, trio.current_time())
