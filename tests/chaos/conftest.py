"""One estate, asked as a server would ask it, without a socket in between."""

from dataclasses import dataclass, field
from random import Random

import msgspec
import pytest
import trio

from chaos.hotel.estate.hotel import build_hotel
from chaos.hotel.estate.services import build_services

MORNING = 1_439_618_400  # 2015-08-15T06:00:00Z
BOTH = "resort-praia,resort-serra"


@dataclass
class Asked:
    """An answer as it came over: its status, its JSON, its bytes."""

    status: int
    raw: bytes

    @property
    def body(self):
        return msgspec.json.decode(self.raw)

    @property
    def code(self):
        return self.body["code"]


@dataclass
class Asking:
    """Who asks, and the services that are asked. A header that is None is not sent."""

    services: dict
    authority: object
    who: dict = field(default_factory=lambda: {"tenant": "resort", "operator": "ines", "scope": BOTH})

    def by(self, **who):
        return Asking(self.services, self.authority, self.who | who)

    def counts(self, service, operation):
        return self.services[service].counts[operation].shown()

    async def __call__(self, service, method, target, body=None, *, key=None, raw=None):
        named = {
            "x-tenant-id": self.who["tenant"],
            "x-operator-id": self.who["operator"],
            "x-property-scope": self.who["scope"],
            "idempotency-key": key,
        }
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in named.items() if value is not None],
        }
        sent = b"" if body is None else msgspec.json.encode(body)
        status, pieces = 0, []

        async def receive():
            return {"type": "http.request", "body": sent if raw is None else raw, "more_body": False}

        async def send(message):
            nonlocal status
            status = message.get("status", status)
            pieces.append(message.get("body", b""))

        await self.services[service](scope, receive, send)
        return Asked(status, b"".join(pieces))

    async def get(self, service, target):
        return await self(service, "GET", target)

    async def post(self, service, target, body, key=None):
        return await self(service, "POST", target, body, key=key)


def an_estate(seed=1, token_ttl=900):
    """Its wall clock begins in the morning of the business day, and goes with Trio's."""
    services, authority = build_services(
        build_hotel(),
        now=lambda: MORNING + trio.current_time(),
        entropy=Random(seed).randbytes,
        token_ttl=token_ttl,
        seed=seed,
    )
    return Asking({service.name: service for service in services}, authority)


@pytest.fixture
def ask():
    """A test in which time passes asks for `autojump_clock` itself: pytest-trio looks no further than its arguments."""
    return an_estate()


@pytest.fixture(scope="session")
def make_estate():
    return an_estate
