"""Answers that no honest server gives: each is the right httpx exception, and its connection is never used again.

Everything goes the whole way: httpx's client, the pool, a simulated network, and a server that sends exactly these
bytes and keeps the connection open, so that only the answer itself can be the reason for closing it.
"""

import httpx
import pytest
import trio

from bff.wire.exchange import TooLarge
from bff.wire.pool import Pool
from bff.wire.transport import TrioTransport
from chaos.sim.link import Network
from nurseries import within

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
Broken = httpx.RemoteProtocolError

# name: (what is sent, whether the server then ends the stream, the exception)
CORPUS: dict[str, tuple[bytes, bool, type[Exception]]] = {
    "nothing": (b"", True, Broken),
    "ends in the status line": (b"HTTP/1.1 20", True, Broken),
    "ends in the head": (OK + b"Content-Le", True, Broken),
    "ends in a body with a length": (OK + b"Content-Length: 5\r\n\r\nhell", True, Broken),
    "ends before a body with a length": (OK + b"Content-Length: 5\r\n\r\n", True, Broken),
    "ends in a chunk": (CHUNKED + b"5\r\nhel", True, Broken),
    "ends between chunks": (CHUNKED + b"5\r\nhello\r\n", True, Broken),
    "ends before the last line end": (CHUNKED + b"5\r\nhello\r\n0\r\n", True, Broken),
    "ends after an interim head": (b"HTTP/1.1 100 Continue\r\n\r\n", True, Broken),
    "garbage": (b"\x16\x03\x01\x02\x00\x01", False, Broken),
    "html": (b"<html><body>502 Bad Gateway</body></html>", False, Broken),
    "http/0.9": (b"hello", False, Broken),
    "another service": (b"SSH-2.0-OpenSSH_9.6\r\n", False, Broken),
    "a blank line first": (b"\r\n" + OK + b"Content-Length: 0\r\n\r\n", False, Broken),
    "a lower-case version": (b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", False, Broken),
    "version 2.0": (b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", False, Broken),
    "version 0.9": (b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n", False, Broken),
    "version 1.7": (b"HTTP/1.7 200 OK\r\nContent-Length: 0\r\n\r\n", False, Broken),
    "rtsp": (b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False, Broken),
    "ice": (b"ICE/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False, Broken),
    "status 99": (b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n", False, Broken),
    "status 600": (b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n", False, Broken),
    "status of two digits": (b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", False, Broken),
    "status of four digits": (b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", False, Broken),
    "status with a sign": (b"HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n", False, Broken),
    "two spaces before the status": (b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n", False, Broken),
    "NUL in the reason": (b"HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n", False, Broken),
    "CR in the reason": (b"HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n", False, Broken),
    "a huge status line": (b"HTTP/1.1 200 " + b"O" * 40_000, False, TooLarge),
    "endless headers": (OK + b"X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 4000, False, TooLarge),
    "a header without end": (OK + b"X: " + b"a" * 40_000, False, TooLarge),
    "a header of spaces": (OK + b"X:" + b" " * 40_000, False, TooLarge),
    "interim heads without end": (b"HTTP/1.1 100 Continue\r\n\r\n" * 4000, False, TooLarge),
    "an interim head that closes": (
        b"HTTP/1.1 103 Hints\r\nConnection: close\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n",
        False,
        Broken,
    ),
    "a switch of protocols nobody asked for": (
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello",
        False,
        Broken,
    ),
    "bare LF": (b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", False, Broken),
    "LF after a value": (OK + b"X: a\nContent-Length: 0\r\n\r\n", False, Broken),
    "CR in a value": (OK + b"X: a\rb\r\nContent-Length: 0\r\n\r\n", False, Broken),
    "NUL in a value": (OK + b"X: a\0b\r\nContent-Length: 0\r\n\r\n", False, Broken),
    "NUL in a name": (OK + b"X\0: a\r\nContent-Length: 0\r\n\r\n", False, Broken),
    "a control byte in a value": (OK + b"X: a\x01b\r\nContent-Length: 0\r\n\r\n", False, Broken),
    "a folded value": (OK + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n", False, Broken),
    "a folded framing field": (OK + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", False, Broken),
    "a space before the first field": (OK + b" X: a\r\nContent-Length: 0\r\n\r\n", False, Broken),
    "a space before the colon": (OK + b"Content-Length : 5\r\n\r\nhello", False, Broken),
    "an empty name": (OK + b": a\r\nContent-Length: 0\r\n\r\n", False, Broken),
    "no colon": (OK + b"Content-Length 0\r\n\r\n", False, Broken),
    "a name that is no token": (OK + b"X(Y: a\r\nContent-Length: 0\r\n\r\n", False, Broken),
    "two lengths that differ": (OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", False, Broken),
    "two lengths that agree": (OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", False, Broken),
    "a list of lengths": (OK + b"Content-Length: 5, 5\r\n\r\nhello", False, Broken),
    "a negative length": (OK + b"Content-Length: -5\r\n\r\nhello", False, Broken),
    "a length with a plus": (OK + b"Content-Length: +5\r\n\r\nhello", False, Broken),
    "a hexadecimal length": (OK + b"Content-Length: 0x5\r\n\r\nhello", False, Broken),
    "a fractional length": (OK + b"Content-Length: 5.0\r\n\r\nhello", False, Broken),
    "a length with an underscore": (OK + b"Content-Length: 1_0\r\n\r\nhellohello", False, Broken),
    "a length in another script": (OK + "Content-Length: ٥\r\n\r\nhello".encode(), False, Broken),
    "an empty length": (OK + b"Content-Length:\r\n\r\nhello", False, Broken),
    "a length past 64 bits": (OK + b"Content-Length: 18446744073709551621\r\n\r\nhello", False, Broken),
    "a length over the bound": (OK + b"Content-Length: 1073741824\r\n\r\n", False, TooLarge),
    "a length, then chunks": (
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        False,
        Broken,
    ),
    "chunks, then a length": (
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        False,
        Broken,
    ),
    "a coding that only looks like chunked": (
        OK + b"Transfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        True,
        Broken,
    ),
    "chunked with a vertical tab": (OK + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", False, Broken),
    "chunked in quotes": (OK + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', True, Broken),
    "chunked twice": (OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", False, Broken),
    "chunked in two fields": (
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        False,
        Broken,
    ),
    "chunked, then identity": (OK + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", True, Broken),
    "gzip as a transfer coding": (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", False, Broken),
    "identity as a transfer coding": (OK + b"Transfer-Encoding: identity\r\n\r\nhello", True, Broken),
    "an empty transfer coding": (OK + b"Transfer-Encoding:\r\n\r\nhello", True, Broken),
    "chunks in HTTP/1.0": (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", False, Broken),
    "chunks in a 204": (b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", False, Broken),
    "a body in a 204": (b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nhello", False, Broken),
    "a body in a 100": (b"HTTP/1.1 100 Go\r\nContent-Length: 5\r\n\r\nhello" + OK, False, Broken),
    "a chunk size with a sign": (CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n", False, Broken),
    "a negative chunk size": (CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n", False, Broken),
    "a chunk size with 0x": (CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n", False, Broken),
    "a chunk size that is none": (CHUNKED + b"five\r\nhello\r\n0\r\n\r\n", False, Broken),
    "an empty chunk size": (CHUNKED + b"\r\nhello\r\n0\r\n\r\n", False, Broken),
    "a space before a chunk size": (CHUNKED + b" 5\r\nhello\r\n0\r\n\r\n", False, Broken),
    "a space after a chunk size": (CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n", False, Broken),
    "a chunk size past 64 bits": (CHUNKED + b"FFFFFFFFFFFFFFFFF\r\nhello", False, Broken),
    "a bare LF after a chunk size": (CHUNKED + b"5\nhello\r\n0\r\n\r\n", False, Broken),
    "a chunk longer than its size": (CHUNKED + b"5\r\nhello!\r\n0\r\n\r\n", False, Broken),
    "a chunk without its line end": (CHUNKED + b"5\r\nhello0\r\n\r\n", False, Broken),
    "a LF in a chunk extension": (CHUNKED + b"5;a\nb\r\nhello\r\n0\r\n\r\n", False, Broken),
    "a chunk extension without end": (CHUNKED + b"5;" + b"a" * 100_000, False, TooLarge),
    "a chunk size of zeros without end": (CHUNKED + b"0" * 100_000, False, TooLarge),
    "a trailer without end": (CHUNKED + b"0\r\n" + b"x: aaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 5000, False, TooLarge),
    "chunks without end": (CHUNKED + (b"4000\r\n" + b"a" * 0x4000 + b"\r\n") * 70, False, TooLarge),
    "a length in the trailer": (CHUNKED + b"0\r\nContent-Length: 9\r\n\r\n", False, Broken),
    "a transfer coding in the trailer": (CHUNKED + b"0\r\nTransfer-Encoding: gzip\r\n\r\n", False, Broken),
    "a coding nobody asked for": (OK + b"Content-Encoding: br\r\nContent-Length: 5\r\n\r\nhello", False, Broken),
    "two codings": (OK + b"Content-Encoding: gzip, gzip\r\nContent-Length: 5\r\n\r\nhello", False, Broken),
    "gzip that is none": (
        OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
        True,
        httpx.DecodingError,
    ),
}


@pytest.mark.parametrize("step", [1 << 20, 7])
@pytest.mark.parametrize("name", CORPUS)
async def test_a_broken_answer_is_the_right_exception_and_a_closed_connection(autojump_clock, nursery, name, step):
    answer, ends, expected = CORPUS[name]
    if step == 7 and len(answer) > 10_000:
        step = 4099  # as odd, and not for ever
    closed = trio.Event()

    async def serve(stream):
        await stream.receive_some()
        try:
            for at in range(0, len(answer), step):
                await stream.send_all(answer[at : at + step])
            if ends:
                await stream.send_eof()
            while await stream.receive_some():
                pass
        finally:
            closed.set()

    network = Network(latency=0.001)
    listening = network.listen("rooms", 80, serve, nursery)
    pool = Pool(network.connect)
    with within(5) as scope:
        async with httpx.AsyncClient(transport=TrioTransport(pool)) as client:
            with pytest.raises(expected) as caught:
                await client.post("http://rooms/", content=b"{}")
            assert type(caught.value) is expected
            assert caught.value.request.url == "http://rooms/"
            assert pool.free == 0
            await closed.wait()
    assert not scope.cancelled_caught
    assert listening.accepted == 1, "a request that is not repeatable was sent twice"
