"""The hatch: where a person, or a game-day, reaches into a running world and breaks something in it.

A WebSocket on loopback, JSON both ways, one answer per question, in order. A fault is in force when it is answered:

    {"do": "inject", "target": "pricing", "toxic": "latency ms=200", "for": 30}   ->  {"ok": {"pricing": [...]}}
    {"do": "clear", "target": "pricing"}  (target null: everything)               ->  {"ok": {}}
    {"do": "clear", "target": "pricing", "toxic": "hang"}  that fault alone       ->  {"ok": {}}
    {"do": "list"}                                                                ->  {"ok": {"pricing": [...]}}
    anything that cannot be done                                                  ->  {"error": "one line"}

A fault with `for` is healed by a timer of its own. A newer injection of the same fault into the same target takes the
timer's place: the older must not heal what it did not break. Timers live under an owner, not under the connection, so
that a terminal that is closed heals nothing early. Whatever changes something is done one at a time, because a timer
that has begun to heal and an injection that replaces it would otherwise reach the target in any order.

Loopback does not keep out web pages: a browser lets any page open a WebSocket to 127.0.0.1, and says so in `Origin`.
Who has one is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Protocol, TypeAlias

import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketRequest, open_websocket_url, wrap_server_stream

from chaos.live.process import LiveError
from chaos.toxics import BadToxic, Toxic, split
from nurseries import ErrorsBecome, Full, KeyedScopes, Owner, described, within

InForce: TypeAlias = "Mapping[str, list[str]]"

LONGEST: Final = 65_536  # bytes of a message
ANSWERS_WITHIN: Final = 10.0  # seconds
HEALS_WITHIN: Final = 10.0
SHAKES_HANDS_WITHIN: Final = 5.0
LONGEST_FAULT: Final = 86_400.0


class Faults(Protocol):
    """Who does it. Each returns when it is done. Raises `BadToxic` for what cannot be, `LiveError` for what failed."""

    async def inject(self, target: str, toxic: Toxic) -> InForce:
        """In force when this returns; gives all that is in force."""
        ...

    async def clear(self, target: str | None, toxic: Toxic | None = None) -> InForce:
        """Heal one target, or all; with `toxic` only that one, if it is still in force."""
        ...

    async def in_force(self) -> InForce:
        """What is wrong now."""
        ...


class Hatch:
    """The server's side. `owner` owns the timers; `last_error` is what the last odd visitor did, or ''."""

    def __init__(self, faults: Faults, owner: Owner) -> None:
        self._faults = faults
        self._owner = owner
        self._timers: KeyedScopes[tuple[str, str]] = KeyedScopes("injections")
        self._one_at_a_time = trio.Lock()
        self.last_error = ""

    async def serve(
        self, host: str, port: int, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve for ever; `task_status` gives the port. Raises `OSError` for a port that is taken."""
        listeners = await trio.open_tcp_listeners(port, host=host)
        task_status.started(listeners[0].socket.getsockname()[1])
        await trio.serve_listeners(self._visited, listeners)

    async def _visited(self, stream: trio.abc.Stream) -> None:
        """One connection: whatever its visitor does ends this connection alone."""
        with ErrorsBecome(self._odd):
            async with trio.open_nursery() as nursery:
                request: WebSocketRequest | None = None
                with within(SHAKES_HANDS_WITHIN):
                    request = await wrap_server_stream(nursery, stream, max_message_size=LONGEST)
                if request is not None:
                    await self._meet(request)
                nursery.cancel_scope.cancel(reason="the visit is over")

    def _odd(self, error: Exception) -> None:
        self.last_error = described(error)

    async def _meet(self, request: WebSocketRequest) -> None:
        if any(name.lower() == b"origin" for name, _ in request.headers):
            await request.reject(403, body=b"not for web pages\n")
            return
        async with await request.accept() as socket:
            try:
                while True:
                    await socket.send_message(json.dumps(await self.answer(await socket.get_message())))
            except ConnectionClosed:
                return

    async def answer(self, message: str | bytes) -> dict[str, Any]:
        """What one message gets: whatever goes wrong is said to whoever asked."""
        try:
            asked = json.loads(message)
        except (ValueError, RecursionError):
            return {"error": "a message is JSON"}
        if not isinstance(asked, dict):
            return {"error": "a message is an object"}
        try:
            with within(ANSWERS_WITHIN):
                return {"ok": await self._do(asked)}
        except (BadToxic, LiveError, Full) as error:
            return {"error": str(error)}
        except Exception as error:
            return {"error": f"this is a bug: {described(error)}"}
        return {"error": f"not done within {ANSWERS_WITHIN:.0f} s"}

    async def _do(self, asked: Mapping[str, Any]) -> InForce:
        target, said = asked.get("target"), asked.get("toxic")
        toxic = split(said) if isinstance(said, str) else None
        match asked.get("do"):
            case "list":
                return await self._faults.in_force()
            case "clear" if (target is None and toxic is None) or isinstance(target, str):
                async with self._one_at_a_time:
                    return await self._faults.clear(target, toxic)
            case "inject" if isinstance(target, str) and toxic is not None:
                return await self._inject(target, toxic, _seconds(asked.get("for")))
        raise BadToxic("it should be inject (target, toxic, for), clear (target, toxic) or list")

    async def _inject(self, target: str, toxic: Toxic, seconds: float | None) -> InForce:
        async with self._one_at_a_time:
            in_force = await self._faults.inject(target, toxic)
            with self._timers.newest((target, toxic.word)):  # an older timer of this fault is over
                pass
            if seconds is not None:
                await self._begin_to_heal(target, toxic, seconds)
        return in_force

    async def _begin_to_heal(self, target: str, toxic: Toxic, seconds: float) -> None:
        begun = trio.Event()
        try:
            self._owner.start(self._heal, target, toxic, seconds, begun, name=f"heal {target} {toxic.word}")
        except Full as full:
            nobody_would = full
        else:
            await begun.wait()  # so that whoever comes next finds the timer in its place
            return
        await self._faults.clear(target, toxic)
        raise nobody_would

    async def _heal(self, target: str, toxic: Toxic, seconds: float, begun: trio.Event) -> None:
        with self._timers.newest((target, toxic.word)):
            begun.set()
            await trio.sleep(seconds)
            async with self._one_at_a_time:
                with within(HEALS_WITHIN):
                    await self._faults.clear(target, toxic)


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= LONGEST_FAULT:
        return float(value)
    raise BadToxic("for should be a number of seconds, over 0 and at most a day")


async def tell_hatch(url: str, message: Mapping[str, Any]) -> dict[str, list[str]]:
    """The client's side: one question to the hatch at `url`, and what is in force after it.

    Raises `BadToxic` with the hatch's own line where it refuses, `LiveError` where nobody answers in time.
    """
    with within(ANSWERS_WITHIN + 1.0):
        try:
            async with open_websocket_url(url, connect_timeout=ANSWERS_WITHIN, disconnect_timeout=1.0) as socket:
                await socket.send_message(json.dumps(message))
                answer = json.loads(await socket.get_message())
        except (HandshakeError, ConnectionClosed, OSError, ValueError) as error:
            raise LiveError(f"nobody answers at {url}: is `bff up` running? ({type(error).__name__})") from None
        if "error" in answer:
            raise BadToxic(answer["error"])
        in_force: dict[str, list[str]] = answer["ok"]
        return in_force
    raise LiveError(f"no answer from {url} within {ANSWERS_WITHIN:.0f} s")
