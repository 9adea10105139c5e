"""The ops listener: livez, readyz, metrics, tasks. Never public; beyond loopback it asks for a bearer token."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from bff.model import Answer
from bff.wire.asgi import ClientLeft, Receive, Request, Scope, Send, request_of, send
from nurseries import within

if TYPE_CHECKING:
    from bff.config import Secret
    from bff.ops.readiness import Readiness
    from bff.outside import Outside

TEXT: Final = "text/plain; charset=utf-8"
SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Ops:
    """What the listener shows. `metrics` gives the exposition and its content type, `tasks` the live nursery tree."""

    outside: Outside
    readiness: Readiness
    metrics: Callable[[], tuple[bytes, str]]
    tasks: Callable[[], str]
    token: Secret | None = None

    async def serve(self, scope: Scope, receive: Receive, out: Send) -> None:
        """The ASGI application."""
        del receive
        answer = self._answer(request_of(scope))
        with within(SECONDS):
            try:
                await send(out, answer, self.outside.identifier())
            except ClientLeft:
                return
        await trio.lowlevel.checkpoint()

    def _answer(self, request: Request) -> Answer:
        if self.token is not None and not _bears(request, self.token):
            return Answer(401, b"the ops token is needed\n", TEXT, (("www-authenticate", "Bearer"),))
        show = {"/livez": self._live, "/readyz": self._ready, "/metrics": self._metrics, "/tasks": self._tasks}
        if request.path not in show:
            return Answer(404, b"livez, readyz, metrics, tasks\n", TEXT)
        if request.method != "GET":
            return Answer(405, b"GET only\n", TEXT, (("allow", "GET"),))
        return show[request.path]()

    def _live(self) -> Answer:
        return Answer(200, b"alive\n", TEXT)

    def _ready(self) -> Answer:
        lines = self.readiness.lines().encode()
        return Answer(200 if self.readiness.ready else 503, lines, TEXT)

    def _metrics(self) -> Answer:
        body, kind = self.metrics()
        return Answer(200, body, kind)

    def _tasks(self) -> Answer:
        return Answer(200, self.tasks().encode(), TEXT)


def _bears(request: Request, token: Secret) -> bool:
    scheme, _, given = (request.first(b"authorization") or b"").partition(b" ")
    return scheme.lower() == b"bearer" and hmac.compare_digest(given, token.value.encode())
