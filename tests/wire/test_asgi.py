"""The view of a head, the bounded read of a body, the writing of an answer: without a server."""

from __future__ import annotations

from math import inf

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from bff.model import Answer
from bff.problem import Code, Problem
from bff.wire.asgi import BODY_LIMIT, Message, Receive, Request, Send, read_body, request_of, send
from nurseries import Unbounded, within


def receiving(*messages: Message, every: float = 0.0) -> Receive:
    """A peer whose messages come `every` seconds, and who then says nothing more."""
    waiting = list(messages)

    async def receive() -> Message:
        await trio.sleep(every if waiting else inf)
        return waiting.pop(0)

    return receive


def piece(body: bytes, more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def sending() -> tuple[list[Message], Send]:
    sent: list[Message] = []

    async def out(message: Message) -> None:
        sent.append(message)

    return sent, out


def request(*headers: tuple[bytes, bytes]) -> Request:
    return Request("POST", "/", "", headers, "http", "")


def code(outcome: bytes | Problem) -> Code:
    assert isinstance(outcome, Problem)
    return outcome.code


def test_a_scope_becomes_a_frozen_request_with_its_target_raw() -> None:
    seen = request_of(
        {
            "method": "GET",
            "raw_path": b"/a%2Fb",
            "path": "/a/b",
            "query_string": b"c=%20",
            "headers": [(b"host", b"d"), (b"x", b"1"), (b"x", b"2")],
            "scheme": "https",
            "client": ("192.0.2.1", 5),
            "http_version": "2",
        }
    )
    assert seen == Request("GET", "/a%2Fb", "c=%20", seen.headers, "https", "192.0.2.1", "2")
    assert (seen.first(b"x"), seen.all(b"x"), seen.first(b"y"), seen.all(b"y")) == (b"1", (b"1", b"2"), None, ())


def test_a_peer_without_an_address_is_the_empty_string() -> None:
    scope = {"method": "GET", "raw_path": b"/", "query_string": b"", "headers": [], "scheme": "http", "client": None}
    assert request_of({**scope, "http_version": "1.1"}).client == ""


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=20), max_size=6))
def test_a_body_is_the_same_in_whatever_pieces_it_comes(pieces: list[bytes]) -> None:
    messages = [*(piece(part) for part in pieces), piece(b"", more=False)]

    async def main() -> bytes | Problem:
        with within(1.0):
            return await read_body(receiving(*messages))

    assert trio.run(main) == b"".join(pieces)


async def test_a_body_is_never_awaited_without_a_deadline() -> None:
    with pytest.raises(Unbounded):
        await read_body(receiving(piece(b"a", more=False)))


async def test_the_limit_passes_and_one_byte_more_is_413_at_once(autojump_clock: trio.testing.MockClock) -> None:
    half = piece(b"a" * (BODY_LIMIT // 2))
    endless = receiving(half, half, piece(b"a"))  # and nothing after: who waited for the end would be late
    with within(5.0):
        assert await read_body(receiving(half, half, piece(b"", more=False))) == b"a" * BODY_LIMIT
        assert code(await read_body(endless)) is Code.PAYLOAD_TOO_LARGE


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ((b"content-length", b"262145"), Code.PAYLOAD_TOO_LARGE),
        ((b"content-encoding", b"gzip"), Code.UNSUPPORTED_MEDIA_TYPE),
        ((b"content-encoding", b"identity, gzip"), Code.UNSUPPORTED_MEDIA_TYPE),
    ],
)
async def test_what_the_head_already_forbids_is_refused_before_a_byte_is_read(
    header: tuple[bytes, bytes], expected: Code
) -> None:
    assert code(await read_body(receiving(), request=request(header))) is expected


async def test_an_identity_coding_is_none(autojump_clock: trio.testing.MockClock) -> None:
    plain = request((b"content-encoding", b" Identity"), (b"content-length", b"1"))
    with within(5.0):
        assert await read_body(receiving(piece(b"a", more=False)), request=plain) == b"a"


async def test_a_body_slower_than_its_deadline_is_408_while_there_is_time_to_say_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    began = trio.current_time()
    with within(5.0) as scope:
        outcome = await read_body(receiving(*[piece(b"a")] * 100, every=0.3))
        assert trio.current_time() == pytest.approx(began + 4.95)
    assert code(outcome) is Code.REQUEST_TIMEOUT
    assert not scope.cancelled_caught


async def test_who_cancels_a_read_is_not_answered_with_a_problem(autojump_clock: trio.testing.MockClock) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await read_body(receiving(piece(b"a", more=False)))
        raise AssertionError("a cancelled read came back")
    assert scope.cancelled_caught


async def test_a_peer_that_leaves_in_its_body_leaves_a_problem(autojump_clock: trio.testing.MockClock) -> None:
    with within(5.0):
        cut = await read_body(receiving(piece(b"a"), {"type": "http.disconnect"}))
    assert code(cut) is Code.VALIDATION_FAILED


async def test_an_answer_is_two_messages_with_its_headers_lowered_and_ordered() -> None:
    sent, out = sending()
    answer = Answer(201, b"{}", headers=(("Location", "/x"),))
    await send(out, answer, "rid", (("Server-Timing", "iam;dur=1"),))
    assert sent == [
        {
            "type": "http.response.start",
            "status": 201,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", b"2"),
                (b"x-request-id", b"rid"),
                (b"cache-control", b"no-store"),
                (b"x-content-type-options", b"nosniff"),
                (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
                (b"location", b"/x"),
                (b"server-timing", b"iam;dur=1"),
            ],
        },
        {"type": "http.response.body", "body": b"{}", "more_body": False},
    ]


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_has_no_length_and_no_type(status: int) -> None:
    sent, out = sending()
    await send(out, Answer(status, b""), "rid")
    names = {name for name, _ in sent[0]["headers"]}
    assert names == {b"x-request-id", b"cache-control", b"x-content-type-options", b"content-security-policy"}
