"""Requests that can be left at any moment, and what the same desk does then: it tries again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from chaos.hotel.estate.hotel import build_hotel
from chaos.hotel.fleet.desk import Operator, Refused

if TYPE_CHECKING:
    from chaos.hotel.fleet.desk import Desk

_FIRST: Final = build_hotel().operators[0]
WHO: Final = Operator(_FIRST.tenant_id, _FIRST.operator_id, _FIRST.password)
IDENTITY: Final = 3.0  # seconds: the deadline of signing in and renewing
SIGN_OUT: Final = 5.0
UNREACHABLE: Final = "UNREACHABLE"  # what a desk is told whose server died


@dataclass(frozen=True, slots=True)
class Try:
    """`ask` is the request, `again` the desk's second try; after `restore` it is signed in, whatever was left.

    `kept`: answers are kept; `hung`: the service that hangs. All three raise `AssertionError` for what must not be.
    """

    ask: Callable[[Desk], Awaitable[object]]
    again: Callable[[Desk], Awaitable[None]]
    restore: Callable[[Desk], Awaitable[None]]
    kept: bool = False
    hung: str = ""

    async def asked(self, desk: Desk) -> None:
        """The request, whoever goes away during it. Raises `Refused` for what a server answered."""
        try:
            await self.ask(desk)
        except Refused as refused:
            if refused.code != UNREACHABLE:
                raise


async def _look(desk: Desk) -> object:
    return await desk.dashboard()


async def _look_again(desk: Desk) -> None:
    began = trio.current_time()
    seen = await desk.dashboard()
    assert not seen.body["partial"], "the second look is not whole"
    _in_time(began, 0.8)


async def _sign_in(desk: Desk) -> object:
    return await desk.sign_in(WHO)


async def _sign_in_again(desk: Desk) -> None:
    began = trio.current_time()
    await desk.sign_in(WHO)
    _in_time(began, IDENTITY)


async def _renew(desk: Desk) -> object:
    return await desk.renew()


async def _renew_again(desk: Desk) -> None:
    """With the token it has: the answer to its first try was lost."""
    began = trio.current_time()
    await desk.renew()
    _in_time(began, IDENTITY)


async def _sign_out(desk: Desk) -> object:
    return await desk.ask("DELETE", "/v1/session")  # the desk keeps its tokens: it must see that they are worth nothing


async def _sign_out_again(desk: Desk) -> None:
    """It was done already, or it is done now; and then the session is over, for reading and for renewing."""
    began = trio.current_time()
    told = await _refused(_sign_out(desk))
    assert told in {"", "SESSION_EXPIRED"}, f"signing out again: {told}"
    _in_time(began, SIGN_OUT)
    assert await _refused(desk.ask("GET", "/v1/session")) == "SESSION_EXPIRED", "signed out, and may still read"
    assert await _refused(desk.renew()) == "SESSION_EXPIRED", "signed out, and may still renew"


async def _refused(request: Awaitable[object]) -> str:
    """The code of its refusal, '' where there was none."""
    try:
        await request
    except Refused as refused:
        return refused.code
    return ""


def _in_time(began: float, seconds: float) -> None:
    took = trio.current_time() - began
    assert took <= seconds, f"the second try took {took:.6f} s, of {seconds:g}"


async def _nothing(_: Desk) -> None:
    await trio.lowlevel.checkpoint()


async def _signed_in(desk: Desk) -> None:
    await desk.sign_in(WHO)


TRIES: Final[Mapping[str, Try]] = {
    "dashboard-cold": Try(_look, _look_again, _nothing),
    "dashboard-warm": Try(_look, _look_again, _nothing, kept=True),
    "dashboard-hung": Try(_look, _look_again, _nothing, hung="pricing"),
    "sign-in": Try(_sign_in, _sign_in_again, _nothing),
    "refresh": Try(_renew, _renew_again, _nothing),
    "sign-out": Try(_sign_out, _sign_out_again, _signed_in),
}
