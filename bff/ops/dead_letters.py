"""The dead letters on the ops listener: what could not be said, why, and the order to say it after all (F-38).

    GET  /dead-letters?after=N&limit=N   those numbered above `after`, in order, without what they say
    GET  /dead-letters/{number}          one of them, with it
    POST /dead-letters/replay            {"numbers": […]}: {"raised": how many of them there were}

A replay that was not answered for may have been done: asked again it raises what is left. The body's type keeps out
what a page in a browser could send here (see `ops/switches.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import parse_qsl

import msgspec
import trio

from bff.jobs.deadletters import PAGE
from bff.model import Answer, Down
from bff.outside import rfc3339
from bff.problem import Code, FieldError, Problem
from bff.upstreams.drift import UNREADABLE, described
from bff.wire.asgi import read_body

if TYPE_CHECKING:
    from bff.jobs.deadletters import DeadLetters
    from bff.stores.outbox import DeadLetter
    from bff.wire.asgi import Receive, Request

PATH: Final = "/dead-letters"
REPLAY: Final = "replay"
LARGEST_NUMBER: Final = 2**63 - 1
BODY_LIMIT: Final = 65_536  # bytes
AGAIN: Final = 1.0  # seconds

Number = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_NUMBER)]


class Which(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query of a list."""

    after: Number = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE)] = 100


class Replay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a replay."""

    numbers: Annotated[tuple[Number, ...], msgspec.Meta(min_length=1, max_length=PAGE)]


class Raised(msgspec.Struct, frozen=True):
    """How many are to be said after all."""

    raised: int


class Shown(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A dead letter on the wire. `payload` is what it says, where one is asked for; `bytes` how much that is."""

    number: int
    topic: str
    ordering_key: str
    kind: str
    message_id: str
    reason: str
    died: str
    bytes: int
    payload: str | None = None


class Morgue:
    """The room of the dead letters, behind whatever the listener asks of who comes."""

    def __init__(self, letters: DeadLetters) -> None:
        self._letters = letters

    async def answer(self, request: Request, receive: Receive) -> Answer | Problem:
        """Needs a finite deadline above it and raises `nurseries.Unbounded` without one."""
        await trio.lowlevel.checkpoint()
        name = request.path.removeprefix(PATH).removeprefix("/")
        wanted = "POST" if name == REPLAY else "GET"
        if request.method != wanted:
            return Problem(Code.METHOD_NOT_ALLOWED, f"this path has {wanted}", headers=(("allow", wanted),))
        if name == REPLAY:
            return await self._replayed(request, receive)
        return await self._one(name) if name else await self._all(request)

    async def _all(self, request: Request) -> Answer | Problem:
        try:
            which = msgspec.convert(dict(parse_qsl(request.query, keep_blank_values=True)), type=Which, strict=False)
        except msgspec.ValidationError as error:
            return _invalid(error)
        found = await self._letters.page(which.after, which.limit)
        return _down(found) if isinstance(found, Down) else _json([_shown(letter) for letter in found])

    async def _one(self, name: str) -> Answer | Problem:
        number = int(name) if name.isascii() and name.isdigit() and len(name) < 20 else LARGEST_NUMBER + 1
        found = await self._letters.one(number) if number <= LARGEST_NUMBER else None
        if isinstance(found, Down):
            return _down(found)
        if found is None:
            return Problem(Code.NOT_FOUND, f"there is no dead letter {name[:40]!a}")
        return _json(_shown(found, whole=True))

    async def _replayed(self, request: Request, receive: Receive) -> Answer | Problem:
        kind = (request.first(b"content-type") or b"").partition(b";")[0].strip().lower()
        if kind != b"application/json":
            return Problem(Code.UNSUPPORTED_MEDIA_TYPE, "a replay is application/json")
        raw = await read_body(receive, BODY_LIMIT, request=request)
        if isinstance(raw, Problem):
            return raw
        try:
            asked = msgspec.json.decode(raw, type=Replay)
        except UNREADABLE as error:
            return _invalid(error)
        raised = await self._letters.replay(asked.numbers)
        return _down(raised) if isinstance(raised, Down) else _json(Raised(raised))


def _shown(letter: DeadLetter, *, whole: bool = False) -> Shown:
    said = letter.letter
    return Shown(
        letter.number,
        said.topic,
        said.ordering_key,
        said.kind,
        said.message_id,
        letter.reason,
        rfc3339(letter.died),
        len(said.payload),
        said.payload.decode(errors="replace") if whole else None,
    )


def _invalid(error: Exception) -> Problem:
    wrong = described(error)
    return Problem(
        Code.VALIDATION_FAILED, f"{wrong.path}: {wrong.message}", errors=(FieldError(wrong.path, wrong.message),)
    )


def _down(down: Down) -> Problem:
    return Problem(Code.STORE_UNAVAILABLE, f"the ledger gave no answer ({down.why})", retry_after=AGAIN)


def _json(shown: object) -> Answer:
    return Answer(200, msgspec.json.encode(shown))
