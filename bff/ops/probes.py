"""Probes on the ops listener: what each found last, and having one look now.

    GET  /probes          each of them, with what it found when it looked last here
    POST /probes/{name}   it looks now: what it found

A finding is good, or not, or null where nobody could look. The type of the body keeps out what a page in a browser
could send here (see `ops/switches.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import msgspec

from bff.model import Answer
from bff.problem import Code, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bff.jobs.probing import Finding, Look
    from bff.wire.asgi import Receive, Request

PATH: Final = "/probes"
JSON: Final = b"application/json"


class Bench:
    """The room of the probes, behind whatever the listener asks of who comes."""

    def __init__(self, probes: Mapping[str, Look]) -> None:
        self._probes = probes
        self._found: dict[str, tuple[Finding, ...]] = {}

    async def answer(self, request: Request, receive: Receive) -> Answer | Problem:
        """Needs a finite deadline above it and raises `nurseries.Unbounded` without one."""
        del receive  # there is nothing to be told
        name = unquote(request.path.removeprefix(PATH).removeprefix("/"))
        wanted = "POST" if name else "GET"
        if name and name not in self._probes:
            return Problem(Code.NOT_FOUND, f"there is no probe {name[:40]!a}: there are {', '.join(self._probes)}")
        if request.method != wanted:
            return Problem(Code.METHOD_NOT_ALLOWED, f"this path has {wanted}", headers=(("allow", wanted),))
        if not name:
            return _json({probe: self._found.get(probe) for probe in self._probes})
        if (request.first(b"content-type") or b"").partition(b";")[0].strip().lower() != JSON:
            return Problem(Code.UNSUPPORTED_MEDIA_TYPE, "a request here is application/json")
        self._found[name] = await self._probes[name]()
        return _json(self._found[name])


def _json(value: object) -> Answer:
    return Answer(200, msgspec.json.encode(value))
