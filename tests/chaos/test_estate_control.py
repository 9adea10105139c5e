"""The estate behind its doors, on the simulated network: the control, and faults done through it."""

from random import Random

import msgspec
import pytest
import trio

from chaos.hotel.estate.control import open_estate
from chaos.hotel.estate.hotel import build_hotel
from chaos.hotel.estate.services import build_services
from chaos.sim.link import Network

WHO = {"tenant": "resort", "operator": "ines", "password": "ines-desk-2015", "deviceId": "d1", "jkt": "key"}


class Estate:
    """Asks over real HTTP/1.1 on simulated streams, a connection each."""

    def __init__(self, nursery):
        services, authority = build_services(
            build_hotel(), now=trio.current_time, entropy=Random(1).randbytes, token_ttl=60
        )
        self.network = Network()
        self.estate, self.control = open_estate(
            services, authority, listen=self.network.listen, nursery=nursery, host="estate", port=9100
        )

    async def ask(self, port, method, target, body=None, *fields):
        raw = b"" if body is None else msgspec.json.encode(body)
        head = [f"{method} {target} HTTP/1.1", "host: estate", f"content-length: {len(raw)}", "connection: close"]
        stream = await self.network.connect("estate", port, None)
        await stream.send_all("\r\n".join([*head, "x-tenant-id: resort", *fields, "", ""]).encode() + raw)
        got = b""
        with trio.fail_after(100):
            while piece := await stream.receive_some(65_536):
                got += piece
        answer, _, body = got.partition(b"\r\n\r\n")
        return int(answer.split(b" ", 2)[1]), msgspec.json.decode(body)

    async def told(self, method, target, body=None):
        return await self.ask(self.control.port, method, target, body)

    async def of(self, service, target, *fields):
        return await self.ask(self.estate.doors[service].port, "GET", target, None, *fields)


@pytest.fixture
async def estate(nursery):
    return Estate(nursery)


async def test_each_service_has_a_door_of_its_own_and_the_control_says_where(autojump_clock, estate):
    status, urls = await estate.told("GET", "/_estate/services")
    assert status == 200
    assert len(urls) == len(set(urls.values())) == 15
    for url in urls.values():
        assert (await estate.ask(int(url.rpartition(":")[2]), "GET", "/no-such-path"))[0] == 404


async def test_counters_say_what_each_operation_has_seen(autojump_clock, estate):
    for _ in range(2):
        await estate.of("inventory", "/properties/resort-praia/occupancy")
    _, counters = await estate.told("GET", "/_estate/counters")
    assert counters["inventory"] == {"occupancy": {"calls": 2, "distinctKeys": 0, "effects": 0}}
    assert set(counters["reservation"]) == {
        *("arrivals", "departures", "inHouse", "workbench", "checkIn", "checkOut", "assignRoom")
    }


async def test_the_head_of_a_service_s_last_request_is_kept_as_it_came(autojump_clock, estate):
    assert await estate.told("GET", "/_estate/last?service=sync") == (200, {})
    await estate.of("sync", "/devices/d%201/cursor?x=1", "X-Request-Timeout-Ms: 700", "traceparent: 00-a-b-01")
    _, last = await estate.told("GET", "/_estate/last?service=sync")
    assert (last["method"], last["path"], last["query"]) == ("GET", "/devices/d%201/cursor", "x=1")
    assert last["headers"]["x-request-timeout-ms"] == "700"
    assert last["headers"]["traceparent"] == "00-a-b-01"
    assert (await estate.told("GET", "/_estate/last?service=nobody"))[0] == 400


async def test_a_fault_is_in_force_when_it_is_answered_and_healed_when_it_is_cleared(autojump_clock, estate):
    assert (await estate.of("pricing", "/properties/resort-praia/rates"))[0] == 200
    status, toxics = await estate.told("POST", "/_estate/toxics", {"service": "pricing", "toxic": "status code=500"})
    assert (status, toxics) == (200, {"pricing": ["status code=500"]})
    assert (await estate.of("pricing", "/properties/resort-praia/rates"))[0] == 500
    await estate.told("POST", "/_estate/toxics", {"service": "sync", "toxic": "down"})
    assert (await estate.told("GET", "/_estate/toxics"))[1] == {"pricing": ["status code=500"], "sync": ["down"]}
    with pytest.raises(OSError, match="refused"):
        await estate.of("sync", "/devices/d/cursor")
    assert (await estate.told("DELETE", "/_estate/toxics?service=sync"))[1] == {"pricing": ["status code=500"]}
    assert (await estate.of("sync", "/devices/d/cursor"))[0] == 200
    assert (await estate.told("DELETE", "/_estate/toxics"))[1] == {}
    assert (await estate.of("pricing", "/properties/resort-praia/rates"))[0] == 200


async def test_one_fault_is_healed_alone_and_only_if_it_is_that_very_one(autojump_clock, estate):
    for toxic in ("latency ms=200", "status code=500"):
        await estate.told("POST", "/_estate/toxics", {"service": "pricing", "toxic": toxic})
    both = {"pricing": ["latency ms=200", "status code=500"]}
    for other in ("latency%20ms=300", "latency", "status"):
        target = f"/_estate/toxics?service=pricing&toxic={other}"
        assert (await estate.told("DELETE", target))[1] == both
    target = "/_estate/toxics?service=pricing&toxic=latency%20ms=200"
    assert (await estate.told("DELETE", target))[1] == {"pricing": ["status code=500"]}


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "/_estate/toxics", {"service": "nobody", "toxic": "down"}),
        ("POST", "/_estate/toxics", {"service": "pricing", "toxic": "flu"}),
        ("POST", "/_estate/toxics", {"service": "pricing", "toxic": "kill"}),  # for stores
        ("POST", "/_estate/toxics", {"service": "pricing"}),
        ("POST", "/_estate/toxics", ["pricing"]),
        ("DELETE", "/_estate/toxics?service=nobody", None),
        ("DELETE", "/_estate/toxics?toxic=flu", None),
        ("POST", "/_estate/iam/mint", {"base": "x"}),
        ("POST", "/_estate/iam/mint", {"base": "a.b.c", "claims": []}),
        ("POST", "/_estate/iam/mint", None),
        ("POST", "/_estate/tenant/status", {"tenantId": "nobody", "status": "active"}),
        ("POST", "/_estate/tenant/status", {"tenantId": "resort", "status": "gone"}),
        ("POST", "/_estate/tenant/status", [1]),
    ],
)
async def test_what_cannot_be_done_is_a_400_in_words_and_the_estate_goes_on(
    autojump_clock, estate, method, target, body
):
    status, said = await estate.told(method, target, body)
    assert (status, said["code"]) == (400, "BAD_REQUEST")
    assert said["message"]
    assert (await estate.told("GET", "/_estate/toxics")) == (200, {})


async def test_the_control_mints_and_revokes_and_suspends(autojump_clock, estate):
    iam = estate.estate.doors["iam"].port
    _, signed = await estate.ask(iam, "POST", "/sessions", WHO)
    _, minted = await estate.told("POST", "/_estate/iam/mint", {"base": signed["accessToken"], "claims": {"exp": 1}})
    assert minted["accessToken"] != signed["accessToken"]
    assert (await estate.told("POST", "/_estate/iam/revoke", {"sessionId": signed["sessionId"]}))[0] == 200
    status, refused = await estate.ask(
        iam, "POST", "/sessions/refresh", {"refreshToken": signed["refreshToken"], "jkt": "key"}
    )
    assert (status, refused["code"]) == (401, "SESSION_REVOKED")
    assert (await estate.told("POST", "/_estate/iam/revoke", {"sessionId": "none"}))[0] == 404
    await estate.told("POST", "/_estate/tenant/status", {"tenantId": "resort", "status": "suspended"})
    assert (await estate.of("tenant", "/tenants/resort"))[1]["status"] == "suspended"


async def test_a_taken_port_is_said_at_once(autojump_clock, estate, nursery):
    services, authority = build_services(build_hotel(), now=trio.current_time, entropy=Random(1).randbytes, token_ttl=1)
    with pytest.raises(OSError, match="in use"):
        open_estate(services, authority, listen=estate.network.listen, nursery=nursery, host="estate", port=9100)
