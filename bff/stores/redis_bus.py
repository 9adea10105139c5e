"""The bus on the session tier's Redis: a stream per tenant that is kept, and one short one that all instances follow.

    TENANT|events             the log: a stream, its ids the offsets; epoch, time, uid and payload of each entry
    TENANT|said|UID           the position of what was said under that uid
    TENANT|stream|DEVICE      the token of who holds the device's stream
    bus                       copies of what was said, probes and words, in the order in which they came

What is done, is done by a script in one step. `follow` has a line of its own: it waits at the server for something to
come, and must not keep anybody else waiting. Streams and not Redis' own publish and subscribe: under a server that is
frozen, or restarts, those hang without an error, and what was published meanwhile is lost (FINDINGS, section 3).
"""

from __future__ import annotations

import hashlib
import math
from contextlib import asynccontextmanager
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from bff.model import DeviceId, Down, SessionId, TenantId
from bff.stores.bus import (
    FOLLOW_SECONDS,
    IDLE_SECONDS,
    KEPT_EVENTS,
    KEPT_SECONDS,
    PAGE,
    Ended,
    Entry,
    Gone,
    Heard,
    Page,
    Passage,
    Position,
    Probed,
    Superseded,
)
from bff.stores.cache import CacheKey
from bff.stores.redis_line import Call, open_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from bff.stores.border import Border
    from bff.stores.bus import Held, Passing, Posting, Word
    from bff.stores.redis_line import Line

STORE: Final = "bus"
BUS: Final = b"bus"
PASSING: Final = 20_000  # entries of the bus, about
BEGINNING: Final = "0-0"  # of the bus

Fields: TypeAlias = "dict[bytes, bytes]"


def _script(name: str) -> tuple[str, str]:
    text = (resources.files("bff.stores") / "lua" / f"{name}.lua").read_text(encoding="utf-8")
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


POST, PAGED, RESTORE, TAKE, RENEW, LEAVE = (
    _script(name) for name in ("post", "page", "restore", "take", "renew", "leave")
)


class RedisBus:
    """`bff.stores.bus.Bus` on one Redis. Made by `open_bus`."""

    def __init__(self, line: Line, following: Line) -> None:
        self._line = line
        self._following = following

    @property
    def connections(self) -> int:
        """How often the line by which `follow` reads was (re)made."""
        return self._following.connections

    async def post(self, postings: Sequence[Posting]) -> tuple[Position, ...] | Down:
        """Say each of them, in order, in one round trip."""
        answers = await self._line.ask(*(_posted(posting) for posting in postings))
        if isinstance(answers, Down):
            return answers
        return tuple(_position(epoch, offset) for epoch, offset in answers)

    async def said(self, tenant: TenantId, uid: str) -> bool | Down:
        """Whether that was said."""
        answer = await self._line.ask(("EXISTS", _key(tenant, "said", uid)))
        return answer if isinstance(answer, Down) else bool(answer[0])

    async def say(self, word: Word) -> Down | None:
        """Put a word on the bus."""
        answer = await self._line.ask(("XADD", BUS, "MAXLEN", "~", PASSING, "*", *_word(word)))
        return answer if isinstance(answer, Down) else None

    async def tip(self) -> str | Down:
        """The id of the last entry of the bus."""
        answer = await self._line.ask(("XREVRANGE", BUS, "+", "-", "COUNT", 1))
        if isinstance(answer, Down):
            return answer
        return answer[0][0][0].decode("ascii") if answer[0] else BEGINNING

    async def follow(self, after: str) -> Passage | Down:
        """What came after that id; the server waits for it."""
        block = round(FOLLOW_SECONDS * 1000)
        answer = await self._following.ask(("XREAD", "COUNT", 1000, "BLOCK", block, "STREAMS", BUS, after))
        if isinstance(answer, Down):
            return answer
        if not answer[0]:
            return Passage((), after)
        entries = answer[0][0][1]
        passing = [found for _, fields in entries if (found := _passing(_fields(fields))) is not None]
        return Passage(tuple(passing), entries[-1][0].decode("ascii"))

    def hang_up(self) -> None:
        """Give up the line by which `follow` reads."""
        self._following.hang_up()

    async def head(self, tenant: TenantId, now: float) -> Position | Down:
        """The last position of a tenant's log."""
        answer = await self._paged(tenant, now, "", "")
        return answer if isinstance(answer, Down) else _position(answer[0], answer[1])

    async def page(self, tenant: TenantId, after: Position, now: float) -> Page | Gone | Down:
        """What was said after `after`."""
        answer = await self._paged(tenant, now, after.epoch, str(after.offset))
        if isinstance(answer, Down):
            return answer
        epoch, offset, there, entries = answer
        head = _position(epoch, offset)
        return Page(tuple(_logged(*entry) for entry in entries), head) if there else Gone(head)

    async def _paged(self, tenant: TenantId, now: float, epoch: str, offset: str) -> list[Any] | Down:
        key = _key(tenant, "events")
        call: Call = ("EVALSHA", PAGED[1], 1, key, _utf8(tenant), _ms(now), _ms(IDLE_SECONDS), PAGE, epoch, offset)
        answer = await self._line.ask(call)
        return answer if isinstance(answer, Down) else answer[0]

    async def restore(self, tenant: TenantId, entries: Sequence[Entry]) -> bool | Down:
        """Put back what a server has lost."""
        keys = [_key(tenant, "events"), *(_key(tenant, "said", one.uid or "-") for one in entries)]
        told: list[bytes | str | int] = []
        for one in entries:
            told += (one.position.offset, one.position.epoch, _ms(one.at), _utf8(one.uid), one.payload)
        answer = await self._line.ask(("EVALSHA", RESTORE[1], len(keys), *keys, _ms(IDLE_SECONDS), *told))
        return answer if isinstance(answer, Down) else bool(answer[0])

    # -- one stream per device ----------------------------------------------------------------------------------

    async def take(self, tenant: TenantId, device: DeviceId, *, now: float, ttl: float) -> int | Down:
        """Be the device's stream from now on."""
        keys = (_key(tenant, "stream", device), BUS)
        told = (_utf8(tenant), _utf8(device), _ms(now), _ms(ttl), PASSING)
        answer = await self._line.ask(("EVALSHA", TAKE[1], 2, *keys, *told))
        return answer if isinstance(answer, Down) else int(answer[0])

    async def renew(self, held: Sequence[Held], *, ttl: float) -> tuple[bool, ...] | Down:
        """Hold each for another `ttl` seconds, all in one step."""
        keys = [_key(one.tenant, "stream", one.device) for one in held]
        answer = await self._line.ask(("EVALSHA", RENEW[1], len(keys), *keys, _ms(ttl), *(one.token for one in held)))
        return answer if isinstance(answer, Down) else tuple(bool(kept) for kept in answer[0])

    async def leave(self, held: Sequence[Held]) -> Down | None:
        """Forget those that are still held by that token."""
        keys = [_key(one.tenant, "stream", one.device) for one in held]
        answer = await self._line.ask(("EVALSHA", LEAVE[1], len(keys), *keys, *(one.token for one in held)))
        return answer if isinstance(answer, Down) else None


def _key(tenant: TenantId, kind: str, *parts: str) -> bytes:
    return _utf8(CacheKey(tenant, kind, parts).text())


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


def _ms(seconds: float) -> int:
    return max(1, math.ceil(seconds * 1000))


def _position(epoch: bytes, offset: bytes) -> Position:
    return Position(epoch.decode("ascii"), int(offset))


def _posted(posting: Posting) -> Call:
    tenant = posting.tenant
    keys = (_key(tenant, "events"), _key(tenant, "said", posting.uid), BUS)
    told = (_utf8(tenant), _utf8(posting.uid), posting.payload, _ms(posting.at), _ms(posting.remember))
    return ("EVALSHA", POST[1], 3, *keys, *told, _ms(IDLE_SECONDS), KEPT_EVENTS, _ms(KEPT_SECONDS), PASSING)


def _word(word: Word) -> tuple[bytes | str | int, ...]:
    match word:
        case Probed(instance, number):
            return ("k", "p", "i", instance, "w", number)
        case Superseded(tenant, device, token):
            return ("k", "s", "n", _utf8(tenant), "d", _utf8(device), "w", token)
        case Ended(tenant, session):
            return ("k", "x", "n", _utf8(tenant), "d", _utf8(session))


def _fields(flat: list[bytes]) -> Fields:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _passing(fields: Fields) -> Passing | None:
    """What an entry of the bus says; None for a kind that this version does not know."""
    match fields[b"k"]:
        case b"h":
            position = _position(fields[b"e"], fields[b"o"])
            entry = Entry(position, fields[b"p"], int(fields[b"t"]) / 1000, _text(fields[b"u"]))
            return Heard(TenantId(_text(fields[b"n"])), entry)
        case b"p":
            return Probed(_text(fields[b"i"]), int(fields[b"w"]))
        case b"s":
            return Superseded(TenantId(_text(fields[b"n"])), DeviceId(_text(fields[b"d"])), int(fields[b"w"]))
        case b"x":
            return Ended(TenantId(_text(fields[b"n"])), SessionId(_text(fields[b"d"])))
        case _:
            return None


def _logged(id: bytes, flat: list[bytes]) -> Entry:
    fields = _fields(flat)
    position = _position(fields[b"e"], id.partition(b"-")[0])
    return Entry(position, fields[b"p"], int(fields[b"t"]) / 1000, _text(fields[b"u"]))


@asynccontextmanager
async def open_bus(border: Border, url: str) -> AsyncIterator[RedisBus]:
    """The bus at `url`, whether it is there or not. Raises `ValueError` for a URL that cannot be used."""
    scripts = [text for text, _ in (POST, PAGED, RESTORE, TAKE, RENEW, LEAVE)]
    async with (
        open_line(border, STORE, url, scripts, speaks=False) as line,
        open_line(border, STORE, url, speaks=False) as following,
    ):
        yield RedisBus(line, following)
