"""A house with its gate in virtual time: the real server, simulated stores, iam and tenant-service of the estate."""

import random
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field

import msgspec
import pytest
import trio
import trio.testing

from bff.config import settings, variable
from bff.gate.ladder import Demands, climb, knock
from bff.house import Stores, compose
from bff.model import Down
from bff.outside import Outside
from bff.upstreams.client import Journey
from bff.upstreams.services import SERVICES
from bff.wire.asgi import Request, request_of
from bff.wire.trace import ServerTiming, Trace
from chaos.hotel.checks.listed import all_listed
from chaos.hotel.estate.grounds import Grounds
from chaos.hotel.estate.hotel import build_hotel
from chaos.hotel.estate.iam import Iam
from chaos.hotel.estate.service import Service
from chaos.hotel.estate.serving import Door
from chaos.hotel.estate.tenant import Tenants
from chaos.hotel.fleet.proof import make_key, make_proof
from chaos.hotel.stores.cache import SimCache
from chaos.hotel.stores.ledger import SimLedger
from chaos.hotel.stores.tier import SimTier
from chaos.sim.link import Network
from nurseries import listening, open_owner, within

MORNING = 1_439_625_600.0  # 2015-08-15T08:00Z
HOST = "bff.example"
UNSIGNED = "e30.e30."
TTL = 900


@dataclass
class Said:
    """An answer of the app, and when it began, on Trio's clock."""

    status: int = 0
    headers: list = field(default_factory=list)
    body: bytes = b""
    at: float = 0.0

    def header(self, name):
        return next((value.decode() for key, value in self.headers if key == name.encode()), None)

    def json(self):
        return msgspec.json.decode(self.body)

    @property
    def code(self):
        return self.json()["code"]


class Desk:
    """A key, a device, and what it would say of itself; each `head` is a new proof."""

    def __init__(self, world, device="desk-1", tenant="resort", operator="ines", props=("resort-praia",)):
        self.world = world
        self.key = make_key(world.entropy)
        self.device = device
        self.tenant = tenant
        self.operator = operator
        self.props = props
        self.session = f"s-{world.entropy(4).hex()}"

    def token(self, **claims):
        usual = {"did": self.device, "props": list(self.props)}
        return self._minted("at+jwt", TTL, {**usual, **claims})

    def attestation(self, **claims):
        """A second factor for a refund, good for 120 s, until `claims` say otherwise; its `jti` is new."""
        usual = {"jti": self.world.entropy(8).hex(), "act": "folio.refund", "res": "f-00870"}
        return self._minted("mfa+jwt", 120, {**usual, **claims})

    def _minted(self, typ, seconds, claims):
        now = self.world.now()
        usual = {
            "iss": "https://iam.melmastoon.example",
            "aud": "bff-backoffice",
            "exp": now + seconds,
            "iat": now,
            "nbf": now,
            "sub": self.operator,
            "tid": self.tenant,
            "sid": self.session,
            "cnf": {"jkt": self.key.kid},
        }
        return self.world.iam_itself.mint(UNSIGNED, {**usual, **claims}, {"alg": "ES256", "typ": typ})

    def proof(self, method, path, token=None, *, jti=None, key=None, now=None, origin=f"http://{HOST}"):
        jti = jti or self.world.entropy(8).hex()
        now = self.world.now() if now is None else now
        return make_proof(key or self.key, method, f"{origin}{path}", token=token, now=now, jti=jti)

    def head(self, method, path, token=None, **proof):
        """Headers with a proof; `token` None leaves it out."""
        headers = {"dpop": self.proof(method, path, token, **proof), "x-device-id": self.device}
        return headers if token is None else {**headers, "authorization": f"DPoP {token}"}


class World:
    def __init__(self, network, nursery, owner, env):
        drawn = random.Random(20150815)
        self.entropy = drawn.randbytes
        self.network = network
        self.facts = []
        self.tier, self.cache, self.ledger = SimTier(), SimCache(), SimLedger()
        grounds = Grounds(build_hotel(), self.now)
        self.iam_itself = Iam(grounds, self.entropy, ttl=TTL)
        self.tenants_themselves = Tenants(grounds)
        tenants = ["resort", "city"]
        self.iam = self._door(Service("iam", self.iam_itself.operations(), tenants=tenants), nursery)
        self.tenant = self._door(Service("tenant", self.tenants_themselves.operations(), tenants=tenants), nursery)
        told = {
            "BFF_POSTGRES_URL": "postgresql://x",
            "BFF_REDIS_SESSION_URL": "redis://x",
            "BFF_REDIS_CACHE_URL": "redis://x",
            **{variable(service): f"http://{service}" for service in SERVICES},
            **env,
        }
        self.outside = Outside(now=self.now, entropy=self.entropy, connect=network.connect)
        stores = Stores(self.tier, self.cache, self.ledger.session(), self.tier.bus)
        self.owner = owner
        self.house = compose(settings(told, SERVICES), self.outside, stores, owner)
        self.gate = self.house.gate
        self.apps = {self.house.app}  # whom it has asked: the house, and doors with rooms of a test's own

    def now(self):
        return MORNING + trio.current_time()

    def _door(self, service, nursery):
        return Door(service, self.network.listen, nursery, host=service.name, port=80)

    def told(self, kind):
        return [fact for fact in self.facts if isinstance(fact, kind)]

    def desk(self, **said):
        return Desk(self, **said)

    def head(self, method, path, headers, query="", client="127.0.0.1", scheme="http"):
        raw = [(b"host", HOST.encode())]
        for name, value in headers.items() if isinstance(headers, dict) else headers:
            raw.append((name.encode(), value if isinstance(value, bytes) else value.encode()))
        return Request(method, path, query, tuple(raw), scheme, client)

    async def tenant_stands(self, status, tenant="resort"):
        """tenant-service says so from now on, and this process has heard it."""
        assert self.tenants_themselves.stand(tenant, status)
        self.tenant.service.changed()
        await trio.testing.wait_all_tasks_blocked()  # a question under way may have been answered before
        with within(1.0):
            journey = Journey(Trace.parse(None, self.entropy), ServerTiming(), tenant)
            suspended = await self.gate.tenants.ask(tenant, Down("not asked"), journey, seconds=1.0)
        assert suspended == (status == "suspended")
        await trio.testing.wait_all_tasks_blocked()  # the tier has it too

    async def climb(self, request, *, seconds=0.8, stay=None, timing=None, **demands):
        with ExitStack() as mine, within(seconds):
            return await climb(
                self.gate, request, Demands(**demands), stay=stay or mine, timing=timing or ServerTiming()
            )

    async def knock(self, request, *, seconds=3.0):
        with ExitStack() as stay, within(seconds):
            return await knock(self.gate, request, stay=stay, timing=ServerTiming())

    async def ask(self, method, path, headers=(), body=None, *, query="", client="127.0.0.1", app=None, pieces=None):
        """One request through the app. `pieces` are ASGI messages of the body, the last one for ever after."""
        said = Said()
        raw = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        messages = iter(pieces or [{"type": "http.request", "body": raw, "more_body": False}])
        headers = dict(headers)
        if body is not None and "content-type" not in headers:
            headers["content-type"] = "application/json"
        request = self.head(method, path, headers)
        scope = {
            "type": "http",
            "method": method,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": list(request.headers),
            "scheme": "http",
            "client": (client, 5000),
            "http_version": "1.1",
        }
        assert request_of(scope).headers == request.headers

        async def receive():
            await trio.lowlevel.checkpoint()
            message = next(messages, None)
            if message is None:
                await trio.sleep_forever()
            return message

        async def send(message):
            await trio.lowlevel.checkpoint()
            if message["type"] == "http.response.start":
                said.status, said.headers, said.at = message["status"], message["headers"], trio.current_time()
            else:
                said.body += message["body"]

        self.apps.add(app or self.house.app)
        await (app or self.house.app)(scope, receive, send)
        return said


@asynccontextmanager
async def _open_world(*, latency=0.0, **env):
    network = Network(latency=latency)
    async with trio.open_nursery() as nursery, open_owner("test", bound=1_000) as owner:
        world = World(network, nursery, owner, {f"BFF_{name.upper()}": text for name, text in env.items()})
        with listening(world.facts.append):
            yield world
            if world.apps == {world.house.app}:
                all_listed(world.facts)
        nursery.cancel_scope.cancel()


@pytest.fixture(scope="session")
def open_world():
    """`async with open_world(rate_requests="0") as world`: settings by their names, without `BFF_`."""
    return _open_world


@pytest.fixture
async def world():
    assert isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock), (
        "ask for autojump_clock in the test itself"
    )
    async with _open_world() as world:
        yield world
