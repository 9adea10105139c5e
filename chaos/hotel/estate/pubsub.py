"""pubsub: Google's Pub/Sub as a publisher meets it, by its REST API (projects.topics.publish, PubsubMessage, quotas).

A request is taken as a whole or refused as a whole: one message over a limit, and none of its neighbours is published.
All messages of a request have one ordering key. Who publishes a message twice has published it twice, each time under
another id of Pub/Sub's own; so a publisher gives an id of its own, the attribute `messageId`, and subscribers go by it.

Answers have no `tenantId`, and errors are Google's: `{"error": {"code", "message", "status"}}`, a quota's with how long
to wait. There are no subscribers: what was published is kept, for tests to look at.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as BadBase64
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from chaos.hotel.estate.service import Call, Operation, Refusal, Reply, changes

PROJECT: Final = "melmastoon"
TOPICS: Final = ("bff-domain-events", "bff-telemetry")

# Resource limits of https://cloud.google.com/pubsub/quotas, in messages, attributes and bytes. A body in JSON has one
# of its own, which Google's front says: 10 MiB with base64 and all, so that no more than 7.8 MB of data fit in.
MOST_MESSAGES: Final = 1_000
LARGEST_REQUEST: Final = 10_000_000
LARGEST_BODY: Final = 10_485_760
LARGEST_DATA: Final = 10_000_000
MOST_ATTRIBUTES: Final = 100
LONGEST_NAME: Final = 256
LONGEST_VALUE: Final = 1_024
LONGEST_ORDERING_KEY: Final = 1_024

KEPT: Final = 200_000  # messages and ids that a topic remembers
STATUS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_URL_SAFE: Final = str.maketrans("-_", "+/")


class Message(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What may be in a message that is published; ids and times are Pub/Sub's to give."""

    data: str = ""
    attributes: dict[str, str] = {}
    ordering_key: str = ""


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a publish."""

    messages: list[Message] = []


@dataclass(frozen=True, slots=True)
class Taken:
    """A message as it was taken, the `number`-th of its topic; `message_id` and `kind` are '' where it named none."""

    number: int
    message_id: str
    ordering_key: str
    kind: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Published:
    """What a topic has taken. `messages` are those asked for that are kept still, in order; the rest is of all times.

    `distinct` message ids, `duplicates` under an id seen before.
    """

    messages: tuple[Taken, ...]
    total: int
    distinct: int
    duplicates: int

    def by_key(self) -> dict[str, list[str]]:
        """The message ids of each ordering key in the order in which they first came, without their repetitions."""
        keys: dict[str, dict[str, None]] = {}
        for one in self.messages:
            keys.setdefault(one.ordering_key, {})[one.message_id] = None
        return {key: list(ids) for key, ids in keys.items()}


def google_error(code: int, message: str = "broken on purpose", details: Sequence[Any] = ()) -> dict[str, Any]:
    """An error as Google's APIs put it (google.rpc.Status in JSON)."""
    error = {"code": code, "message": message, "status": STATUS.get(code, "UNKNOWN")}
    return {"error": {**error, "details": list(details)} if details else error}


class Refused(Refusal):
    """A publish that is not taken, in Google's words."""

    def __init__(self, status: int, message: str, *details: Any) -> None:
        super().__init__(status, STATUS[status], message)
        self.details = details

    def reply(self, call: Call) -> Reply:  # noqa: ARG002 - whoever asks, it is the same
        return Reply(self.status, google_error(self.status, str(self), self.details))


@dataclass
class _Topic:
    """What was published to one topic, as far back as it goes."""

    kept: deque[Taken] = field(default_factory=lambda: deque(maxlen=KEPT))
    seen: OrderedDict[str, None] = field(default_factory=OrderedDict)
    total: int = 0
    distinct: int = 0
    duplicates: int = 0

    def take(self, message: Message, data: bytes) -> bool:
        """Keep it; False where its id was there before."""
        self.total += 1
        name = message.attributes.get("messageId", "")
        self.kept.append(Taken(self.total, name, message.ordering_key, message.attributes.get("type", ""), data))
        if not name:
            return True
        if name in self.seen:
            self.duplicates += 1
            return False
        self.distinct += 1
        self.seen[name] = None
        if len(self.seen) > KEPT:
            self.seen.popitem(last=False)
        return True


class PubSub:
    """The topics of one project, and the quota of whoever publishes. `now` gives seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._topics = {name: _Topic() for name in TOPICS}
        self._given = 0  # ids, over all topics
        self._quota: float | None = None
        self._spare, self._at = 0.0, 0.0

    def operations(self) -> list[Operation]:
        path = "/v1/projects/{p}/topics/{t}:publish"
        too_long = Refused(400, f"Request payload size exceeds the limit: {LARGEST_BODY} bytes.")
        return [changes("publish", path=path, handler=self._publish, largest=LARGEST_BODY, too_long=too_long)]

    def limit(self, messages_per_second: float | None) -> None:
        """From now on no more than that, a second's worth at once; None: no quota. Raises `ValueError` unless over 0.

        A request that begins within the quota is taken whole, and whoever comes next waits the longer.
        """
        if messages_per_second is not None and not 0 < messages_per_second < float("inf"):
            raise ValueError("messagesPerSecond should be a number over 0, or null")
        self._quota = messages_per_second
        self._spare, self._at = messages_per_second or 0.0, self._now()

    def published(self, topic: str, after: int = 0, most: int = KEPT) -> Published:
        """What `topic` took, from the message after number `after`, at most `most`. Raises `KeyError` for no topic."""
        of = self._topics[topic]
        first = of.total - len(of.kept) + 1
        skipped = max(0, after + 1 - first)
        messages = tuple(of.kept[at] for at in range(skipped, min(len(of.kept), skipped + most)))
        return Published(messages, of.total, of.distinct, of.duplicates)

    def _publish(self, call: Call) -> Reply:
        messages = _messages(call.body)
        data = [_fit(message) for message in messages]
        _fit_together(messages, data)
        topic = self._topics.get(call.fields["t"]) if call.fields["p"] == PROJECT else None
        if topic is None:
            raise Refused(404, f"Resource not found (resource={call.fields['t']}).")
        self._spend(len(messages))
        keys, effects = topic.distinct, 0
        for message, raw in zip(messages, data, strict=True):
            effects += topic.take(message, raw)
        first, self._given = self._given + 1, self._given + len(messages)
        ids = [str(number) for number in range(first, self._given + 1)]
        return Reply(200, {"messageIds": ids}, effects, topic.distinct - keys)

    def _spend(self, messages: int) -> None:
        if self._quota is None:
            return
        now = self._now()
        self._spare = min(self._quota, self._spare + (now - self._at) * self._quota)
        self._at = now
        if self._spare <= 0:
            # A little longer than it takes: who comes back to the microsecond should not find it spent to a rounding.
            delay = f"{-self._spare / self._quota + 0.001:.3f}s"
            info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
            raise Refused(429, "Quota exceeded for quota metric 'Publisher throughput'.", info)
        self._spare -= messages


def _messages(body: Any) -> list[Message]:
    try:
        messages = msgspec.convert(body, Request).messages
    except msgspec.ValidationError as error:
        raise Refused(400, f"Invalid JSON payload received. {error}") from None
    if not messages:
        raise Refused(400, "The request contains no messages.")
    if len(messages) > MOST_MESSAGES:
        raise Refused(400, f"The request has {len(messages)} messages: at most {MOST_MESSAGES} are allowed.")
    return messages


def _fit(message: Message) -> bytes:
    """The data of a message that is within every limit of one. Raises `Refused`."""
    try:
        text = message.data.translate(_URL_SAFE).rstrip("=")
        data = b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (BadBase64, ValueError):
        raise Refused(400, "Invalid value for data: Base64 decoding failed.") from None
    if not data and not message.attributes:
        raise Refused(400, "One or more messages have neither data nor attributes.")
    if len(data) > LARGEST_DATA:
        raise Refused(400, f"The value for message_data is too large: at most {LARGEST_DATA} bytes.")
    if _size(message.ordering_key) > LONGEST_ORDERING_KEY:
        raise Refused(400, f"The ordering key is too long: at most {LONGEST_ORDERING_KEY} bytes.")
    _fit_attributes(message.attributes)
    return data


def _fit_attributes(attributes: dict[str, str]) -> None:
    if len(attributes) > MOST_ATTRIBUTES:
        raise Refused(400, f"A message has {len(attributes)} attributes: at most {MOST_ATTRIBUTES} are allowed.")
    for name, value in attributes.items():
        if not 0 < _size(name) <= LONGEST_NAME or name.startswith("goog"):
            raise Refused(400, f"An attribute key should have 1 to {LONGEST_NAME} bytes, and not begin with goog.")
        if _size(value) > LONGEST_VALUE:
            raise Refused(400, f"The value of attribute {name} is too long: at most {LONGEST_VALUE} bytes.")


def _fit_together(messages: Sequence[Message], data: Iterable[bytes]) -> None:
    if len({message.ordering_key for message in messages}) > 1:
        raise Refused(400, "All messages of a request should have the same ordering key.")
    size = sum(map(len, data)) + sum(_size(message.ordering_key) for message in messages)
    size += sum(_size(name) + _size(value) for message in messages for name, value in message.attributes.items())
    if size > LARGEST_REQUEST:
        raise Refused(400, f"The request is too large: at most {LARGEST_REQUEST} bytes.")


def _size(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))
