"""The faults that only a service can have: it answers, and the answer is wrong (`chaos.toxics.ANSWER`).

Two kinds. In front: something else answers in the service's place, and its work is not done. Bent: the work is done,
and what goes out is not what it should be.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final

import msgspec

from chaos.toxics import Drift, Garbage, Giant, Redirect, Status, Toxic

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

IN_FRONT: Final[tuple[type[Toxic], ...]] = (Status, Redirect, Garbage, Giant)
JSON: Final = (b"content-type", b"application/json")
HTML: Final = b"<!doctype html><title>Maintenance</title><p>We will be back soon.</p>"
PIECE: Final = 64 * 1024  # bytes of a giant answer in one message


def of_another(body: Any, tenants: Sequence[str]) -> Any:
    """`body` as if it were another one's of `tenants`; what names no tenant is left as it is."""
    if not isinstance(body, dict) or "tenantId" not in body:
        return body
    return {**body, "tenantId": next((one for one in tenants if one != body["tenantId"]), "nobody")}


def drifted(body: Any, drift: Drift) -> Any:
    """A copy of `body` in which one field has another type (text becomes a number, all else text), or is gone.

    An answer that has no such field is left as it is.
    """
    if not isinstance(body, dict) or not body:
        return body
    copy = msgspec.json.decode(msgspec.json.encode(body))
    *way, last = drift.field.split(".") if drift.field else [list(copy)[-1]]
    try:
        place = copy
        for step in way:
            place = place[_step(place, step)]
        at = _step(place, last)
        if drift.missing:
            del place[at]
        else:
            place[at] = 7 if isinstance(place[at], str) else "drifted"
    except (KeyError, IndexError, TypeError, ValueError):
        return body
    return copy


def _step(place: Any, step: str) -> int | str:
    return int(step) if isinstance(place, list) else step


async def stand_in(front: Toxic, path: bytes, send: Send) -> None:
    """Answer as `front` says; `path` is what was asked for."""
    match front:
        case Status(code=code):
            body = msgspec.json.encode({"tenantId": "", "code": "BROKEN", "message": "broken on purpose"})
            await send_whole(code, [JSON], body, send)
        case Redirect():
            await send_whole(302, [(b"location", path)], b"", send)
        case Giant(bytes=size):
            await _giant(size, send)
        case _:
            await send_whole(200, [(b"content-type", b"text/html")], HTML, send)


async def send_whole(status: int, headers: list[tuple[bytes, bytes]], body: bytes, send: Send) -> None:
    """An answer in one piece."""
    headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _giant(size: int, send: Send) -> None:
    """As many bytes of JSON as asked for, so that only a bound on the size can tell."""
    await send({"type": "http.response.start", "status": 200, "headers": [JSON]})
    opening, closing = b'{"tenantId": "', b'"}'
    await send({"type": "http.response.body", "body": opening, "more_body": True})
    left = size - len(opening) - len(closing)
    while left > 0:
        await send({"type": "http.response.body", "body": b"x" * min(PIECE, left), "more_body": True})
        left -= PIECE
    await send({"type": "http.response.body", "body": closing, "more_body": False})
