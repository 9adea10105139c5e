"""Publishing to Pub/Sub by its REST API (projects.topics.publish), and what it says to that, told apart.

    200                     published: as many ids as there were messages, else nobody knows what was taken
    400, 413                poison: one of the messages at least is over a limit, and all of them were refused with it
    401, 403, 404           a right or a topic is missing: no message is to blame, and the next try hears the same
    400 as a precondition   something of the topic is not as it should be (`FAILED_PRECONDITION`): as those
    429                     a quota: later, when it says so
    all else, or nothing    not available: later

A request is taken or refused as a whole, and all its messages have one ordering key. A message that is published twice
is there twice: subscribers go by the attribute `messageId`, which stays the same.

What is over `LARGEST_REQUEST` is not even sent. Google counts a request's messages, up to 10 MB, and the bytes of its
body, up to 10 MiB (https://cloud.google.com/pubsub/quotas); the bytes here are those of the body, base64 and all, and
the limit is the lower one.

On Google's own machines a request carries the token of the service account, asked of the metadata server at
`BFF_PUBSUB_TOKEN_URL` and kept until shortly before it ends. Elsewhere there is none.
"""

from __future__ import annotations

import math
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias
from urllib.parse import quote, urlsplit

import httpx
import msgspec
import trio

from bff.facts import UpstreamCalled
from bff.upstreams.drift import UNREADABLE
from bff.wire.exchange import DEFAULT_PORTS, Headers, Origin, Prepared, Reply
from nurseries import required, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bff.wire.pool import Pool

SERVICE, OPERATION = "pubsub", "publish"
RENEW_BEFORE: Final = 60.0  # seconds before a token ends
JSON: Final = (b"content-type", b"application/json")
LARGEST_REQUEST: Final = 10_000_000  # bytes of a body
AROUND: Final = len(b'{"messages":[]}')


class Letter(Protocol):
    """What is published: `payload` of a `kind`, in order within its `ordering_key`, under `message_id` for ever."""

    @property
    def message_id(self) -> str: ...
    @property
    def ordering_key(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def payload(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Published:
    """All of them were taken, under `ids` of Pub/Sub's own."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """None of them was taken, nor will be the next time; `poison` says that one of them is to blame."""

    why: str
    poison: bool


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Whether they were taken is not known; `retry_after` is in seconds, where it said when to come again."""

    why: str
    retry_after: float | None = None


Said: TypeAlias = Published | Refused | Unavailable


class _Ids(msgspec.Struct, frozen=True, rename="camel"):
    message_ids: tuple[str, ...]


class _Detail(msgspec.Struct, frozen=True, rename="camel"):
    retry_delay: str = ""


class _Error(msgspec.Struct, frozen=True):
    message: str = ""
    status: str = ""
    details: tuple[_Detail, ...] = ()


class _Failure(msgspec.Struct, frozen=True):
    error: _Error = _Error()


class _Token(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: float

    def __repr__(self) -> str:
        return "_Token(…)"


class MetadataToken:
    """A service account's token, from the metadata server at `url`."""

    def __init__(self, pool: Pool, url: str) -> None:
        parts = urlsplit(url)
        origin = Origin(parts.scheme, parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme])
        target = (f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/").encode("ascii")
        self._pool = pool
        self._asks = Prepared(origin, b"GET", target, ((b"metadata-flavor", b"Google"),), repeatable=True)
        self._kept = ""
        self._until = -math.inf

    async def token(self) -> str | None:
        """A token that is good for a while; None while none can be had. Asked within the deadline around it."""
        if trio.current_time() >= self._until:
            try:
                reply = await self._pool.fetch(self._asks)
                found = msgspec.json.decode(reply.body, type=_Token)
            except (httpx.TransportError, httpx.DecodingError, *UNREADABLE):
                return self._kept or None  # it may be good still: Pub/Sub will say so
            self._kept = found.access_token
            self._until = trio.current_time() + found.expires_in - RENEW_BEFORE
        return self._kept


class Publisher:
    """Publishes to the topics of `project` at `origin`; with a token, where there is somebody to ask for one."""

    def __init__(self, pool: Pool, origin: Origin, *, project: str, tokens: MetadataToken | None = None) -> None:
        self._pool = pool
        self._origin = origin
        self._project = project
        self._tokens = tokens
        self.sent = 0  # bytes of bodies that were published, since this process began (F-40)

    async def publish(self, topic: str, letters: Sequence[Letter]) -> Said:
        """Publish `letters`, all of one ordering key, in their order.

        Needs a finite deadline above it and raises `nurseries.Unbounded` without one; left at its deadline, nobody
        knows whether they were taken.
        """
        required(SERVICE)
        began, outcome = trio.current_time(), "cancelled"
        try:
            said = await self._asked(topic, letters)
            outcome = "ok" if isinstance(said, Published) else type(said).__name__.lower()
        finally:
            tell(UpstreamCalled(SERVICE, OPERATION, outcome, trio.current_time() - began))
        return said

    async def _asked(self, topic: str, letters: Sequence[Letter]) -> Said:
        size = AROUND + sum(map(on_the_wire, letters))
        if size > LARGEST_REQUEST:
            await trio.lowlevel.checkpoint()
            what = "a message that takes" if len(letters) == 1 else f"{len(letters)} messages that take"
            return Refused(f"{what} {size} bytes to publish: a request has {LARGEST_REQUEST} at most", poison=True)
        headers: Headers = (JSON,)
        if self._tokens is not None and (token := await self._tokens.token()) is not None:
            headers += ((b"authorization", b"Bearer " + token.encode("ascii", "replace")),)
        target = f"/v1/projects/{quote(self._project, safe='')}/topics/{quote(topic, safe='')}:publish".encode()
        body = msgspec.json.encode({"messages": [_message(letter, letter.payload) for letter in letters]})
        try:
            reply = await self._pool.fetch(Prepared(self._origin, b"POST", target, headers, body))
        except (httpx.TransportError, httpx.DecodingError) as error:
            return Unavailable(f"no answer ({type(error).__name__})")
        said = _judged(reply, len(letters))
        self.sent += len(body) if isinstance(said, Published) else 0
        return said


def on_the_wire(letter: Letter) -> int:
    """Bytes that `letter` adds to the body of a request, with the comma after it."""
    return len(msgspec.json.encode(_message(letter, b""))) + 4 * -(-len(letter.payload) // 3) + 1


def _message(letter: Letter, payload: bytes) -> dict[str, object]:
    return {
        "data": b64encode(payload).decode("ascii"),
        "attributes": {"messageId": letter.message_id, "type": letter.kind},
        "orderingKey": letter.ordering_key,
    }


def _judged(reply: Reply, expected: int) -> Said:
    if reply.status == 200:
        return _taken(reply.body, expected)
    error = _error(reply.body)
    if reply.status in {400, 413}:
        said = error.message or f"status {reply.status}"
        return Refused(said, poison=error.status != "FAILED_PRECONDITION")
    if reply.status in {401, 403, 404}:
        return Refused(f"status {reply.status}", poison=False)
    return Unavailable(f"status {reply.status}", _delay(error))


def _taken(body: bytes, expected: int) -> Said:
    try:
        ids = msgspec.json.decode(body, type=_Ids).message_ids
    except UNREADABLE:
        return Unavailable("an answer that cannot be read")
    if len(ids) != expected:
        return Unavailable(f"{len(ids)} ids for {expected} messages")
    return Published(ids)


def _error(body: bytes) -> _Error:
    try:
        return msgspec.json.decode(body, type=_Failure).error
    except UNREADABLE:
        return _Error()


def _delay(error: _Error) -> float | None:
    """Seconds of a `RetryInfo` (google.rpc), such as `1.5s`."""
    for detail in error.details:
        number, seconds, rest = detail.retry_delay.partition("s")
        try:
            delay = float(number) if seconds and not rest else math.nan
        except ValueError:
            continue
        if 0 <= delay < math.inf:
            return delay
    return None
