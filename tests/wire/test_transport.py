"""httpx's own client on top: what a person who knows httpx expects, and what is different on purpose."""

import gzip
import json

import httpx
import pytest
import trio

from bff.wire.exchange import TooLarge
from bff.wire.pool import Pool
from bff.wire.transport import TrioTransport
from chaos.sim.link import Network
from nurseries import Unbounded, within


@pytest.fixture
def network():
    return Network(latency=0.001)


@pytest.fixture
async def client(network):
    async with httpx.AsyncClient(transport=TrioTransport(Pool(network.connect)), base_url="http://rooms") as client:
        yield client


class Server:
    """Answers each request with `answer`, and remembers what came: heads by line, bodies by their length."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.heads, self.bodies = [], []

    async def __call__(self, stream):
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                if not (piece := await stream.receive_some()):
                    return
                data += piece
            head, _, data = data.partition(b"\r\n\r\n")
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
            length = int(fields.get(b"content-length", 0))
            while len(data) < length:
                data += await stream.receive_some()
            self.heads.append((head.split(b"\r\n")[0], fields))
            self.bodies.append(data[:length])
            data = data[length:]
            await stream.send_all(self.answers[min(len(self.heads), len(self.answers)) - 1])


def answer(status, body=b"", *fields):
    lines = b"".join(field + b"\r\n" for field in fields)
    return b"HTTP/1.1 %d X\r\n%bContent-Length: %d\r\n\r\n%b" % (status, lines, len(body), body)


async def test_a_get_is_a_response_like_any_other(autojump_clock, network, client, nursery):
    server = Server(answer(200, b'{"a": 1}', b"Content-Type: application/json", b"X-Two: 1", b"x-two: 2"))
    network.listen("rooms", 80, server, nursery)
    with within(1):
        response = await client.get("/board", params={"date": "2015-08-15", "q": "ä b"})
    assert response.json() == {"a": 1}
    assert response.headers.get_list("x-two") == ["1", "2"]
    assert (response.http_version, response.is_success) == ("HTTP/1.1", True)
    line, fields = server.heads[0]
    assert line == b"GET /board?date=2015-08-15&q=%C3%A4+b HTTP/1.1"
    assert fields[b"host"] == b"rooms"
    assert fields[b"accept-encoding"] == b"gzip"
    assert b"connection" not in fields


async def test_what_is_posted_arrives_by_its_length_streamed_or_not(autojump_clock, network, client, nursery):
    server = Server(answer(201))
    network.listen("rooms", 80, server, nursery)

    class Pieces(httpx.AsyncByteStream):
        def __init__(self):
            self.left = [b"ab", b"", b"cde"]

        def __aiter__(self):
            return self

        async def __anext__(self):
            await trio.lowlevel.checkpoint()
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop(0)

    with within(1):
        await client.post("/", json={"a": 1})
        await client.post("/", content=Pieces())
        await client.put("/")
        form = {"content-type": "multipart/form-data; boundary=line"}  # httpx would draw one
        await client.post("/", data={"x": "y"}, files={"f": b"content"}, headers=form)
    assert json.loads(server.bodies[0]) == {"a": 1}
    assert server.bodies[1] == b"abcde"
    assert b'name="f"' in server.bodies[3] and b"content" in server.bodies[3]
    assert [b"transfer-encoding" in fields for _, fields in server.heads] == [False] * 4
    assert [fields[b"content-length"] for _, fields in server.heads][1:3] == [b"5", b"0"]


async def test_a_response_can_be_streamed_though_it_was_read_whole(autojump_clock, network, client, nursery):
    network.listen("rooms", 80, Server(answer(200, b"one\ntwo")), nursery)
    with within(1):
        async with client.stream("GET", "/") as response:
            assert [line async for line in response.aiter_lines()] == ["one", "two"]


async def test_every_method_and_status_goes_through(autojump_clock, network, client, nursery):
    for status in (200, 204, 304, 404, 500):
        network.listen(f"s{status}", 80, Server(answer(status)), nursery)
        with within(1):
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
                assert (await client.request(method, f"http://s{status}/")).status_code == status


async def test_gzip_is_decoded_once(autojump_clock, network, client, nursery):
    packed = answer(200, gzip.compress(b"hello"), b"Content-Encoding: gzip")
    network.listen("rooms", 80, Server(packed), nursery)
    with within(1):
        response = await client.get("/")
    assert response.text == "hello"
    assert "content-encoding" not in response.headers


async def test_a_redirect_is_the_clients_to_follow(autojump_clock, network, client, nursery):
    network.listen("rooms", 80, Server(answer(302, b"", b"Location: /there"), answer(200, b"there")), nursery)
    with within(1):
        assert (await client.get("/")).status_code == 302
        assert (await client.get("/", follow_redirects=True)).text == "there"


async def test_authentication_cookies_and_hooks_of_the_client_work(autojump_clock, network, nursery):
    server = Server(answer(200, b"", b"Set-Cookie: a=b"), answer(200))
    network.listen("rooms", 80, server, nursery)
    transport = TrioTransport(Pool(network.connect))
    async with httpx.AsyncClient(transport=transport, auth=("ines", "pw")) as client:
        with within(1):
            await client.get("http://rooms/")
            await client.get("http://rooms/")
    assert server.heads[1][1][b"cookie"] == b"a=b"
    assert server.heads[1][1][b"authorization"].startswith(b"basic ")


async def test_a_host_that_is_not_the_urls_is_refused_and_its_own_is_not(autojump_clock, network, client, nursery):
    network.listen("rooms", 8080, Server(answer(200)), nursery)
    with within(1):
        await client.get("http://rooms:8080/", headers={"Host": "ROOMS:8080"})
        with pytest.raises(httpx.LocalProtocolError, match="Host"):
            await client.get("http://rooms:8080/", headers={"Host": "rates"})


@pytest.mark.parametrize("url", ["http://[::1]:81/", "http://127.0.0.1:81/", "http://xn--zrich-kva.example:81/"])
async def test_addresses_and_names_of_all_kinds_are_dialled(autojump_clock, network, client, nursery, url):
    server = Server(answer(200))
    host = httpx.URL(url).raw_host.decode()
    network.listen(host, 81, server, nursery)
    with within(1):
        assert (await client.get(url)).status_code == 200
    assert server.heads[0][1][b"host"] == httpx.URL(url).netloc


async def test_a_timeout_of_httpx_is_not_looked_at_and_the_scope_is(autojump_clock, network, client, nursery):
    with network.delay("rooms", lambda: 10.0):
        network.listen("rooms", 80, Server(answer(200)), nursery)
        with within(100):
            assert (await client.get("/", timeout=0.1)).status_code == 200
        assert trio.current_time() > 30
        with within(5) as scope:
            await client.get("/", timeout=None)
        assert scope.cancelled_caught
        with pytest.raises(Unbounded):
            await client.get("/", timeout=1)


@pytest.mark.parametrize(
    ("method", "headers", "sent"),
    [("GET", {}, 3), ("PUT", {}, 3), ("DELETE", {}, 3), ("POST", {}, 2), ("POST", {"Idempotency-Key": "k"}, 3)],
)
async def test_the_method_or_the_key_makes_a_second_try_safe(
    autojump_clock, network, client, nursery, method, headers, sent
):
    count = 0

    async def serve(stream):
        nonlocal count
        while await stream.receive_some():
            count += 1
            if count == 2:
                return
            await stream.send_all(answer(200))

    network.listen("rooms", 80, serve, nursery)
    with within(1):
        await client.request(method, "/", headers=headers)
        if sent == 3:
            await client.request(method, "/", headers=headers)
        else:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.request(method, "/", headers=headers)
    assert count == sent


async def test_an_exception_knows_its_request_and_a_giant_is_one(autojump_clock, network, client, nursery):
    network.listen("rooms", 80, Server(answer(200, bytes((1 << 20) + 1))), nursery)
    with within(1), pytest.raises(TooLarge) as caught:
        await client.get("/giant")
    assert caught.value.request.url.path == "/giant"


async def test_closing_the_client_closes_the_pool(autojump_clock, network, nursery):
    rooms = network.listen("rooms", 80, Server(answer(200)), nursery)
    pool = Pool(network.connect)
    with within(1):
        async with httpx.AsyncClient(transport=TrioTransport(pool)) as client:
            await client.get("http://rooms/")
            assert pool.free == 1
        await trio.sleep(0.1)
    assert pool.free == 0
    assert not rooms.sessions


@pytest.mark.parametrize(("fields", "sent"), [({}, 3), ({"dpop": "proof"}, 2)])
async def test_a_request_with_a_proof_is_not_sent_again_when_its_kept_connection_breaks(
    autojump_clock, network, client, nursery, fields, sent
):
    heads = []

    async def dies_on_the_second(stream):
        for _ in range(2):
            head = b""
            while b"\r\n\r\n" not in head:
                if not (piece := await stream.receive_some()):
                    return
                head += piece
            heads.append(head)
            if len(heads) == 2:
                await trio.aclose_forcefully(stream)
                return
            await stream.send_all(answer(200))

    network.listen("rooms", 80, dies_on_the_second, nursery)
    with within(5):
        await client.get("/")
        if fields:
            with pytest.raises(httpx.RequestError):
                await client.post("/", headers={"idempotency-key": "k", **fields})
        else:
            await client.post("/", headers={"idempotency-key": "k", **fields})
    assert len(heads) == sent
