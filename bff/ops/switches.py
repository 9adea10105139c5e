"""The switches on the ops listener: who runs the house sees them there, and turns them (CONTRACT section 7).

    GET  /switches          each of them: name, value, since, by, why
    POST /switches/{name}   {"value", "why", "by"}: as it is now, once the turn is committed

Looking asks the ledger first, so that a turn made at another instance is seen at once; with the ledger down it shows
what holds here. A turn that was not answered for may have been made all the same, and says so.

The body is `application/json`, as at the edge. Here it is more than neatness: the listener is on loopback and may have
no token, and that type is what no page in a browser can send to another origin without asking first (Fetch, 4.8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import msgspec
import trio

from bff.model import Answer, Down
from bff.outside import rfc3339
from bff.problem import Code, FieldError, Problem
from bff.stores.switches import BY_NAME
from bff.upstreams.drift import UNREADABLE, described
from bff.wire.asgi import read_body
from nurseries import required, within

if TYPE_CHECKING:
    from bff.stores.switchboard import Switch
    from bff.stores.switches import Switches
    from bff.wire.asgi import Receive, Request

PATH: Final = "/switches"
BODY_LIMIT: Final = 65_536  # bytes
TURN_PART: Final = 0.8  # of the time that is left: for the ledger, and the rest to say what came of it
AGAIN: Final = 1.0  # seconds


class Turn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to turn a switch to, why, and who wants it so."""

    value: str | int | float
    why: str
    by: str = "ops"


class Shown(msgspec.Struct, frozen=True):
    """A switch on the wire; `since` is when it was turned, None for one that never was."""

    name: str
    value: str
    since: str | None
    by: str
    why: str


class Panel:
    """The room of the switches, behind whatever the listener asks of who comes."""

    def __init__(self, switches: Switches) -> None:
        self._switches = switches

    async def answer(self, request: Request, receive: Receive) -> Answer | Problem:
        """Needs a finite deadline above it and raises `nurseries.Unbounded` without one."""
        name = unquote(request.path.removeprefix(PATH).removeprefix("/"))
        wanted = "POST" if name else "GET"
        if name and name not in BY_NAME:
            return Problem(Code.NOT_FOUND, f"there is no switch {name[:40]!a}: there are {', '.join(BY_NAME)}")
        if request.method != wanted:
            return Problem(Code.METHOD_NOT_ALLOWED, f"this path has {wanted}", headers=(("allow", wanted),))
        return await self._turned(name, request, receive) if name else await self._all()

    async def _all(self) -> Answer:
        await self._switches.read()
        return _json([_shown(switch) for switch in self._switches.all])

    async def _turned(self, name: str, request: Request, receive: Receive) -> Answer | Problem:
        asked = await _body(request, receive)
        if isinstance(asked, Problem):
            return asked
        turned: Switch | Down | str = Down("not in time")
        with within(TURN_PART * required("switches")):
            turned = await self._switches.turn(name, str(asked.value), by=asked.by, why=asked.why)
        if isinstance(turned, Down):
            detail = f"the ledger gave no answer ({turned.why}), so {name} may have been turned or not: look at {PATH}"
            return Problem(Code.STORE_UNAVAILABLE, detail, retry_after=AGAIN)
        if isinstance(turned, str):
            return Problem(Code.VALIDATION_FAILED, turned)
        return _json(_shown(turned))


async def _body(request: Request, receive: Receive) -> Turn | Problem:
    kind = (request.first(b"content-type") or b"").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        await trio.lowlevel.checkpoint()
        return Problem(Code.UNSUPPORTED_MEDIA_TYPE, "a turn is application/json")
    raw = await read_body(receive, BODY_LIMIT, request=request)
    if isinstance(raw, Problem):
        return raw
    try:
        return msgspec.json.decode(raw, type=Turn)
    except UNREADABLE as error:
        wrong = described(error)
        errors = (FieldError(wrong.path, wrong.message),)
        return Problem(Code.VALIDATION_FAILED, f"{wrong.path}: {wrong.message}", errors=errors)


def _shown(switch: Switch) -> Shown:
    since = rfc3339(switch.since) if switch.since else None
    return Shown(switch.name, switch.value, since, switch.by, switch.why)


def _json(shown: Shown | list[Shown]) -> Answer:
    return Answer(200, msgspec.json.encode(shown))
