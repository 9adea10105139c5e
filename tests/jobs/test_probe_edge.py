"""Whether this server can be reached from outside by its names, and how long its certificate lasts (F-23 to F-25)."""

import socket
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bff.facts.probes import CertificateSeen, EdgeProbed
from bff.jobs.probe_edge import EVERY, PATIENCE, EdgeProbe
from bff.outside import Outside
from bff.wire.dial import connect
from chaos.hotel.stores.ledger import SimLedger
from chaos.hotel.world import open_world
from chaos.sim.entropy import entropy
from chaos.toxics import Down, Hang
from nurseries import listening, within

DAY = 86_400.0
NOW = datetime(2015, 8, 15, 8, tzinfo=UTC)
FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\nDenied"
OURS = b"HTTP/1.1 401 Unauthorized\r\ncontent-type: application/problem+json\r\ncontent-length: 2\r\n\r\n{}"


async def look(names, way, *, now=NOW.timestamp, told=None):
    """What a probe of those names finds, by what it looked at."""
    probe = EdgeProbe(names, SimLedger().session(), Outside(now, entropy(0, "probe"), way))
    with within(30), listening(told.append if told is not None else lambda _: None):
        return {one.what: (one.good, one.said) for one in await probe.look()}


@asynccontextmanager
async def before_it(world, answer):
    """Somebody at `wall` who says `answer` to whoever comes."""

    async def said(stream):
        async with stream:
            await stream.receive_some(4096)
            await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        world.network.listen("wall", 80, said, nursery)
        yield "http://wall"
        nursery.cancel_scope.cancel()


async def test_a_server_that_can_be_reached_answers_for_itself_under_both_names_f25(autojump_clock):
    async with open_world(servers=("one", "two")) as world:
        way, told = world.network.host("prober").connect, []
        found = await look({"public": "http://one", "fallback": "http://two"}, way, told=told)
        assert {name: good for name, (good, _) in found.items()} == {"public": True, "fallback": True}
        assert {(fact.name, fact.why) for fact in told if isinstance(fact, EdgeProbed)} == {
            ("public", "ok"),
            ("fallback", "ok"),
        }


@pytest.mark.parametrize(("toxic", "why"), [(Down(), "connect"), (Hang(), "timeout")])
async def test_one_that_cannot_be_reached_says_where_it_ended_and_in_time_f25(autojump_clock, toxic, why):
    async with open_world() as world:
        way, told = world.network.host("prober").connect, []
        began = trio.current_time()
        with world.network.inject("bff", toxic):
            found = await look({"public": "http://bff"}, way, told=told)
        assert found["public"][0] is False
        assert [fact.why for fact in told if isinstance(fact, EdgeProbed)] == [why]
        assert trio.current_time() - began <= PATIENCE


async def test_a_name_that_nobody_knows_any_more_is_told_apart_from_a_server_that_is_gone_f25(autojump_clock):
    async def unknown(*_):
        await trio.lowlevel.checkpoint()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    told = []
    found = await look({"public": "http://backoffice.example"}, unknown, told=told)
    assert found["public"][0] is False
    assert [fact.why for fact in told if isinstance(fact, EdgeProbed)] == ["dns"]


@pytest.mark.parametrize(
    ("answer", "good", "why"),
    [(FORBIDDEN, False, "blocked"), (FORBIDDEN.replace(b"403", b"502"), False, "status"), (OURS, True, "ok")],
    ids=["a wall", "a broken wall", "this server"],
)
async def test_who_is_refused_by_somebody_before_this_server_knows_that_it_was_not_the_server_f24(
    autojump_clock, answer, good, why
):
    async with open_world() as world, before_it(world, answer) as origin:
        told = []
        found = await look({"public": origin}, world.network.host("prober").connect, told=told)
        assert found["public"][0] is good
        assert [fact.why for fact in told if isinstance(fact, EdgeProbed)] == [why]


async def test_one_instance_looks_each_minute_and_none_where_desks_know_no_name(autojump_clock):
    async with open_world() as world, trio.open_nursery() as nursery:
        ledger, told = world.stores.ledger, []
        outside = Outside(world.now, entropy(0, "probe"), world.network.host("prober").connect)
        for names in ({"public": "http://bff"}, {"public": "http://bff"}, {}):
            nursery.start_soon(EdgeProbe(names, ledger.session(), outside).serve)
        with listening(told.append):
            await trio.sleep(3 * EVERY + 5)
        nursery.cancel_scope.cancel()
        assert [fact.why for fact in told if isinstance(fact, EdgeProbed)] == ["ok"] * 3


# -- against real handshakes ---------------------------------------------------------------------------------------


def certificate(tmp_path, ends):
    """A self-made one for localhost that ends then, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 7, ends - timedelta(days=90), ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path / "edge.pem"
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def real_edge(tmp_path):
    """`await real_edge(nursery, ends)`: the origin of a real listener that shows a certificate which ends then."""
    return partial(behind_tls, tmp_path)


async def behind_tls(tmp_path, nursery, ends):
    path = certificate(tmp_path, ends)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)

    async def said(stream):
        try:
            async with stream:
                await stream.receive_some(4096)
                await stream.send_all(OURS)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # whoever came has seen enough

    listeners = await nursery.start(partial(trio.serve_ssl_over_tcp, said, 0, context, host="127.0.0.1"))
    return f"https://localhost:{listeners[0].transport_listener.socket.getsockname()[1]}"


@pytest.mark.parametrize(("days", "good"), [(60, True), (29, False), (-2, False)])
async def test_how_long_a_certificate_lasts_is_read_from_a_handshake_whoever_signed_it_f23(real_edge, days, good):
    told = []
    async with trio.open_nursery() as nursery:
        origin = await real_edge(nursery, NOW + timedelta(days=days))
        found = await look({"public": origin}, connect, told=told)
        nursery.cancel_scope.cancel()
    (seen,) = [fact for fact in told if isinstance(fact, CertificateSeen)]
    assert seen.left == pytest.approx(days * DAY, abs=1)
    assert found["public certificate"][0] is good
    assert found["public"][0] is False  # nobody has signed it
    assert [fact.why for fact in told if isinstance(fact, EdgeProbed)] == ["tls"]


async def test_a_certificate_that_is_good_is_good_for_whoever_asks_f23(real_edge, tmp_path):

    async def trusting(host, port, tls):
        return await connect(host, port, ours if tls is not None and tls.check_hostname else tls)

    async with trio.open_nursery() as nursery:
        origin = await real_edge(nursery, datetime.now(UTC) + timedelta(days=60))
        ours = ssl.create_default_context(cafile=tmp_path / "edge.pem")
        found = await look({"public": origin}, trusting, now=lambda: datetime.now(UTC).timestamp())
        nursery.cancel_scope.cancel()
    assert {what: good for what, (good, _) in found.items()} == {"public": True, "public certificate": True}
