"""Desks that read their streams in the virtual world, and the platform that has something to say to them."""

import json
from base64 import b64encode
from contextlib import asynccontextmanager

import httpx
import pytest
import trio

from bff.wire.sse import Event, Reader
from chaos.hotel.fleet.opened import Cut, opened
from chaos.hotel.world import INTERNAL_TOKEN
from nurseries import within

PATH = "/v1/events"


class Ear:
    """What one stream said: `said` and `at` its events and their Trio times, `beats` the times of its comments.

    `problem` is what came instead of a stream; `cut` that it did not end as a body does.
    """

    def __init__(self, connect, desk, last):
        self._connect = connect
        self._desk = desk
        self._last = last
        self._reader = Reader(last or "")
        self._scope = trio.CancelScope()
        self._news = trio.Event()
        self.said, self.at, self.beats = [], [], []
        self.problem = None
        self.cut = False
        self.over = trio.Event()

    async def follow(self):
        extra = {} if self._last is None else {"last-event-id": self._last}
        headers = self._desk.proved("GET", PATH, extra)
        try:
            with self._scope:
                async with opened(self._connect, f"{self._desk.base}{PATH}", headers) as answer:
                    if answer.status != 200:
                        self.problem = json.loads(await answer.whole())
                        return
                    while piece := await answer.piece():
                        self._hear(piece)
        except Cut:
            self.cut = True
        finally:
            self.over.set()
            self._news.set()

    def _hear(self, piece):
        for one in self._reader.feed(piece):
            if isinstance(one, Event):
                self.said.append(one)
                self.at.append(trio.current_time())
            else:
                self.beats.append(trio.current_time())
        self._news.set()
        self._news = trio.Event()

    async def until(self, holds):
        """Wait until that holds of this ear, or its stream is over."""
        with trio.fail_after(120):
            while True:
                await trio.lowlevel.checkpoint()
                if holds(self) or self.over.is_set():
                    return self
                await self._news.wait()

    def leave(self):
        self._scope.cancel()

    @property
    def last(self):
        return self._reader.last_id

    @property
    def words(self):
        return [one.event for one in self.said]

    @property
    def numbers(self):
        return [json.loads(one.data)["n"] for one in self.said if one.event == "alert"]

    def data(self, word):
        """Of the last event of that type."""
        return json.loads(next(one.data for one in reversed(self.said) if one.event == word))


class Side:
    """Both sides of a world's servers: desks with their ears, and the platform."""

    def __init__(self, world, nursery):
        self.world = world
        self._nursery = nursery
        self._connect = world.network.host("desks").connect
        self._platform = {
            name: httpx.AsyncClient(transport=httpx.ASGITransport(server.house.ops), trust_env=False)
            for name, server in world.servers.items()
        }
        self._ids = 0

    async def ear(self, desk, last=None):
        """A stream that has said hello, or why there is none."""
        ear = Ear(self._connect, desk, last)
        self._nursery.start_soon(ear.follow)
        return await ear.until(lambda ear: ear.said)

    async def push(self, kind="alert", *, server="bff", message=None, tenant="resort", data=None, **ids):
        """What the platform says, once; the status of what it hears."""
        self._ids += 1
        told = {"type": kind, "tenantId": tenant, "data": data or {}, **ids}
        envelope = {
            "message": {
                "messageId": message or f"m{self._ids}",
                "data": b64encode(json.dumps(told).encode()).decode(),
            }
        }
        headers = {"authorization": f"Bearer {INTERNAL_TOKEN}"}
        with within(10):
            answer = await self._platform[server].post("http://ops/internal/events", json=envelope, headers=headers)
        return answer.status_code

    async def say(self, *numbers, server="bff", **ids):
        """An alert for each number."""
        for number in numbers:
            assert await self.push(data={"n": number}, server=server, message=f"n{number}", **ids) == 204

    async def say_much(self, count):
        """So many alerts of two kilobytes each."""
        for number in range(count):
            assert await self.push(data={"n": number, "padding": "x" * 2000}) == 204

    async def insist(self, number, **where):
        """An alert with that number, again and again until it is taken, as Pub/Sub does."""
        for _ in range(300):
            if await self.push(data={"n": number}, message=f"n{number}", **where) == 204:
                return
            await trio.sleep(0.1)
        raise AssertionError("nobody takes it")


@pytest.fixture
def between():
    """`async with between(world) as side`."""

    @asynccontextmanager
    async def sides(world):
        async with trio.open_nursery() as nursery:
            yield Side(world, nursery)
            nursery.cancel_scope.cancel()

    return sides
