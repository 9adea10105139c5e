"""One ops listener for several workers: it asks each of them, and says it as one.

    /livez      here: the supervisor lives
    /readyz     per dependency the worst of what the workers say; 200 while one of them is ready
    /metrics    every worker's, labelled with its number, as one OpenMetrics document
    /tasks      one tree after the other
    the rest    is passed on to one of them, and its answer back

A worker that says nothing has a line of its own in `/readyz`: `worker-2 down since=… no answer within 1 s`. What the
others say still counts: one that is frozen, or being replaced, takes nobody out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httpx
import trio

from bff.model import Answer
from bff.ops.listener import OWN_BEARER, SECONDS, TEXT
from bff.ops.readiness import NOT_ASKED
from bff.outside import rfc3339
from bff.problem import Problem, render
from bff.wire.asgi import ALWAYS, ClientLeft, Receive, Request, Scope, Send, bears, read_body, request_of, send
from nurseries import described, task_tree, within

if TYPE_CHECKING:
    from bff.config import Secret
    from bff.outside import Outside

OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
END: Final = "# EOF"
ASKED_WITHIN: Final = 1.0  # seconds; they are asked at once, so one that is frozen costs no more than that
PASSED_ON_WITHIN: Final = 5.0
WORST_LAST: Final = ("up", "degraded", "down")

# What belongs to one connection (RFC 9110, 7.6.1), and what each side says itself.
HOP: Final = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "expect")
)
SAID_AGAIN: Final = HOP | {"host", "content-length"}
SAID_HERE: Final = HOP | {"content-type", "content-length", "x-request-id", "date", *(n.decode() for n, _ in ALWAYS)}


@dataclass(frozen=True, slots=True)
class Door:
    """A worker as the ops listener sees it: `url` of its own ops listener, '' while it is not there.

    `since` is when it came or went, in POSIX seconds; `why` says what it is doing instead of listening.
    """

    number: int
    pid: int
    url: str
    token: str
    since: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a worker said: `status` 0 is nothing, and then `text` is why."""

    door: Door
    status: int
    text: str


class Several:
    """The ops listener of a supervisor. `figures` gives the exposition of the supervisor's own metrics."""

    def __init__(
        self,
        outside: Outside,
        client: httpx.AsyncClient,
        doors: Callable[[], Sequence[Door]],
        figures: Callable[[], str],
        token: Secret | None = None,
    ) -> None:
        self._outside = outside
        self._client = client
        self._doors = doors
        self._figures = figures
        self._token = token
        self._silent: dict[int, float] = {}
        self.draining = False

    async def serve(self, scope: Scope, receive: Receive, out: Send) -> None:
        """The ASGI application."""
        request = request_of(scope)
        answer, request_id = await self._answer(request, receive)
        with within(SECONDS):
            try:
                await send(out, answer, request_id)
            except ClientLeft:
                return
        await trio.lowlevel.checkpoint()

    async def _answer(self, request: Request, receive: Receive) -> tuple[Answer, str]:
        here = self._outside.identifier()
        if self._token is not None and request.path not in OWN_BEARER and not bears(request, self._token):
            return Answer(401, b"the ops token is needed\n", TEXT, (("www-authenticate", "Bearer"),)), here
        show: dict[str, Callable[[], Awaitable[Answer]]] = {
            "/livez": self._live,
            "/readyz": self._ready,
            "/metrics": self._metrics,
            "/tasks": self._tasks,
        }
        if request.path not in show:
            return await self._passed_on(request, receive, here)
        if request.method != "GET":
            return Answer(405, b"GET only\n", TEXT, (("allow", "GET"),)), here
        return await show[request.path](), here

    async def _live(self) -> Answer:
        await trio.lowlevel.checkpoint()
        return Answer(200, b"alive\n", TEXT)

    async def _ready(self) -> Answer:
        heard = await self._all("/readyz")
        silent = [
            f"worker-{one.door.number} down since={rfc3339(self._silent[one.door.number])} {one.text}"
            for one in heard
            if not one.status
        ]
        text = ready_together([one.text for one in heard if one.status], silent)
        ready = not self.draining and any(one.status == 200 for one in heard)
        return Answer(200 if ready else 503, text.encode(), TEXT)

    async def _metrics(self) -> Answer:
        shown = {one.door.number: one.text for one in await self._all("/metrics") if one.status == 200}
        return Answer(200, metrics_together(self._figures(), shown).encode(), OPENMETRICS)

    async def _tasks(self) -> Answer:
        heard = await self._all("/tasks")
        trees = [
            ("supervisor", task_tree()),
            *((f"worker {one.door.number}, pid {one.door.pid}", one.text) for one in heard),
        ]
        return Answer(200, "\n".join(f"{name}\n\n{tree.rstrip()}\n" for name, tree in trees).encode(), TEXT)

    async def _all(self, path: str) -> list[Heard]:
        """What every worker says, in their order; none is waited for longer than `ASKED_WITHIN` seconds."""
        doors = self._doors()
        said: dict[int, Heard] = {}

        async def ask(door: Door) -> None:
            said[door.number] = await self._ask(door, path)

        async with trio.open_nursery() as nursery:
            for door in doors:
                nursery.start_soon(ask, door)
        return [said[door.number] for door in doors]

    async def _ask(self, door: Door, path: str) -> Heard:
        heard = Heard(door, 0, door.why or f"no answer within {ASKED_WITHIN:.0f} s")
        with within(ASKED_WITHIN):
            if door.url:
                try:
                    answer = await self._client.get(door.url + path, headers=_bearer(door))
                    heard = Heard(door, answer.status_code, answer.text)
                except httpx.HTTPError as error:
                    heard = Heard(door, 0, described(error))
        if heard.status:
            self._silent.pop(door.number, None)
        else:
            self._silent.setdefault(door.number, self._outside.now() if door.url else door.since)
        return heard

    async def _passed_on(self, request: Request, receive: Receive, here: str) -> tuple[Answer, str]:
        """One worker's answer and its request id. Who could not be reached has seen nothing: the next one is asked."""
        with within(PASSED_ON_WITHIN):
            body = await read_body(receive, request=request)
            if isinstance(body, Problem):
                return render(body, here), here
            for door in self._likeliest():
                try:
                    answer = await self._client.request(
                        request.method, _target(door, request), headers=_onward(door, request), content=body
                    )
                except httpx.ConnectError:
                    continue
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    return Answer(502, f"worker {door.number}: {described(error)}\n".encode(), TEXT), here
                return _back(answer), answer.headers.get("x-request-id", here)
            return Answer(503, b"no worker is there\n", TEXT, (("retry-after", "1"),)), here
        return Answer(504, f"no answer within {PASSED_ON_WITHIN:.0f} s\n".encode(), TEXT), here

    def _likeliest(self) -> list[Door]:
        """Those that are there; who said nothing when last asked comes last."""
        return sorted((door for door in self._doors() if door.url), key=lambda door: door.number in self._silent)


def ready_together(bodies: Iterable[str], silent: Iterable[str]) -> str:
    """Several bodies of `/readyz` as one: per dependency the worst line, and the lines in `silent` after them.

    Of two that are alike: broken since the first was, whole since the last was. Who has not asked yet has nothing to
    say where another has: a dependency is not down because a worker is young.
    """
    worst: dict[str, str] = {}
    for line in (line for body in bodies for line in body.splitlines() if line):
        name = line.partition(" ")[0]
        known = worst.get(name)
        worst[name] = line if known is None else _worse(known, line)
    return "".join(f"{line}\n" for line in (*worst.values(), *silent))


def _worse(one: str, other: str) -> str:
    ranks = _rank(one), _rank(other)
    if ranks[0] != ranks[1]:
        return one if ranks[0] > ranks[1] else other
    pick = max if ranks[0] == 0 else min
    return pick(one, other, key=_since)


def _rank(line: str) -> int:
    return -1 if line.endswith(NOT_ASKED) else WORST_LAST.index(line.split(" ")[1])


def _since(line: str) -> str:
    return line.split(" ")[2]


def metrics_together(own: str, shown: Mapping[int, str]) -> str:
    """Several OpenMetrics expositions as one: `own` as it is, and those in `shown` with a label `worker`.

    A family is told of once, by whoever has it first, with the samples of all below it: OpenMetrics 1.0, section
    "MetricFamily", lets none come twice. Every line must belong to a family that was announced, as our own always do.
    """
    about: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for number, text in ((None, own), *shown.items()):
        family, first = "", False
        for line in text.splitlines():
            if line.startswith("# ") and line != END:
                name = line.split(" ", 3)[2]
                if name != family:
                    family, first = name, name not in about
                if first:
                    about.setdefault(name, []).append(line)
            elif line and line != END:
                samples.setdefault(family, []).append(line if number is None else labelled(line, number))
    lines = [line for name, said in about.items() for line in (*said, *samples.get(name, ()))]
    return "\n".join([*lines, END, ""])


def labelled(sample: str, number: int) -> str:
    """A line of OpenMetrics with the label `worker`. A name has no brace and no space: what follows it is all kept."""
    name, brace, rest = sample.partition("{")
    if brace and " " not in name:
        return f'{name}{{worker="{number}"{"" if rest.startswith("}") else ","}{rest}'
    name, space, rest = sample.partition(" ")
    return f'{name}{{worker="{number}"}}{space}{rest}'


def _bearer(door: Door) -> dict[str, str]:
    return {"authorization": f"Bearer {door.token}"}


def _target(door: Door, request: Request) -> str:
    return f"{door.url}{request.path}{'?' if request.query else ''}{request.query}"


def _onward(door: Door, request: Request) -> list[tuple[bytes, bytes]]:
    """The request's headers; its bearer was judged here, and the worker has a token of its own."""
    kept = [(name, value) for name, value in request.headers if name.decode("latin-1") not in SAID_AGAIN]
    if request.path in OWN_BEARER:
        return kept
    own = [(name.encode(), value.encode()) for name, value in _bearer(door).items()]
    return [*((name, value) for name, value in kept if name != b"authorization"), *own]


def _back(answer: httpx.Response) -> Answer:
    kept = tuple((name, value) for name, value in answer.headers.multi_items() if name not in SAID_HERE)
    return Answer(answer.status_code, answer.content, answer.headers.get("content-type", TEXT), kept)
