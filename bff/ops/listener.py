"""The ops listener: livez, readyz, metrics, tasks, and what is mounted on it. Never public; beyond loopback it asks for
a bearer token.

Its own views are text, and so is why they refuse. What is mounted speaks JSON, and refuses with a problem (RFC 9457).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import trio

from bff.model import Answer
from bff.problem import Problem, render
from bff.wire.asgi import ClientLeft, Receive, Request, Scope, Send, bears, request_of, send
from nurseries import within

if TYPE_CHECKING:
    from bff.config import Secret
    from bff.ops.readiness import Readiness
    from bff.outside import Outside

TEXT: Final = "text/plain; charset=utf-8"
SECONDS: Final = 5.0  # for sending an answer
OWN_BEARER: Final = frozenset({"/internal/events"})  # its bearer is the platform's, and not the ops token
MOUNTED_SECONDS: Final = 4.0  # for making one, where that may wait: less than a supervisor waits for a worker

Mounted: TypeAlias = "Callable[[Request, Receive], Awaitable[Answer | Problem]]"


@dataclass(frozen=True, slots=True)
class Ops:
    """What the listener shows. `metrics` gives the exposition and its content type, `tasks` the live nursery tree.

    `mounted` has who answers for a path, and for all below it; each has a deadline above it. Those of `OWN_BEARER` ask
    for a token of their own.
    """

    outside: Outside
    readiness: Readiness
    metrics: Callable[[], tuple[bytes, str]]
    tasks: Callable[[], str]
    token: Secret | None = None
    mounted: Mapping[str, Mounted] = field(default_factory=dict)

    async def serve(self, scope: Scope, receive: Receive, out: Send) -> None:
        """The ASGI application."""
        request, request_id = request_of(scope), self.outside.identifier()
        answer = await self._answer(request, receive, request_id)
        with within(SECONDS):
            try:
                await send(out, answer, request_id)
            except ClientLeft:
                return
        await trio.lowlevel.checkpoint()

    async def _answer(self, request: Request, receive: Receive, request_id: str) -> Answer:
        if self.token is not None and request.path not in OWN_BEARER and not bears(request, self.token):
            return Answer(401, b"the ops token is needed\n", TEXT, (("www-authenticate", "Bearer"),))
        below = next((path for path in self.mounted if f"{request.path}/".startswith(f"{path}/")), None)
        if below is None:
            return self._view(request)
        with within(MOUNTED_SECONDS):
            result = await self.mounted[below](request, receive)
            return render(result, request_id) if isinstance(result, Problem) else result
        return Answer(504, b"there was no answer in time\n", TEXT)

    def _view(self, request: Request) -> Answer:
        show = {"/livez": self._live, "/readyz": self._ready, "/metrics": self._metrics, "/tasks": self._tasks}
        if request.path not in show:
            names = ", ".join(path.removeprefix("/") for path in (*show, *self.mounted))
            return Answer(404, f"{names}\n".encode(), TEXT)
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
