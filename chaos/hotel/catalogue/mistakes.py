"""Mistakes of the server's own, or of what it stands on: what must never be so, so that somebody finds out when it is.

A mistake is staged by taking the place of the one function that makes sure it does not happen, of this world's stores
or, where an object has no place for it, of the class in this process. Leaving the block puts back what was there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from bff.events.event import Said
from bff.gate.replay import ReplayWindow, Verdict
from bff.model import DeviceId, Down
from bff.stores.bus import FOLLOW_SECONDS, Ended, Passage
from bff.stores.cache import CacheKey
from bff.stores.keys import KeyId
from chaos.hotel.estate.service import Call

if TYPE_CHECKING:
    from bff.stores.bus import Position, Posting, Word
    from bff.stores.cache import CacheKey as Key
    from bff.stores.keys import Claiming, Recording
    from bff.stores.keys import Verdict as Judged
    from bff.stores.tier import Presented, Standing
    from chaos.hotel.estate.service import Operation, Reply
    from chaos.hotel.world import World

LOCK: Final = "/v1/locks/lock-praia-103/keys"
KEY: Final = {"reservationId": "r-00870", "validUntil": "2015-08-16T12:00:00Z"}
DEVICES: Final = 1_000  # whose cursors are moved, at most


@contextmanager
def instead(owner: object, name: str, value: object) -> Iterator[None]:
    """`value` in the place of what `owner` has by that name, while inside."""
    own = name in vars(owner)
    before = vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)


@asynccontextmanager
async def audit_row_is_lost(world: World) -> AsyncIterator[None]:
    """F-27: a key is issued, and the row of its outcome is taken out of the trail behind the server's back."""
    desk = await world.desk(device="porter")
    await desk.change(LOCK, KEY, f"porter-{world.now():.3f}")
    rows = world.stores.ledger.trail.rows
    place = [place for place, written in rows.items() if written.kind == "outcome"][-1]
    row = rows.drop(place)
    assert row is not None
    try:
        yield
    finally:
        rows.put(place, row)


@asynccontextmanager
async def proofs_are_forgotten(world: World) -> AsyncIterator[None]:
    """F-28: neither the tier nor any process remembers a proof, so that each is good for ever."""
    present = world.stores.tier.present

    async def forgetful(proof: Presented) -> Standing | Down:
        return await present(replace(proof, jti=proof.nonce))

    fresh: Callable[..., Verdict] = lambda *_: Verdict.FRESH  # noqa: E731 -- in the place of a method
    with instead(world.stores.tier, "present", forgetful), instead(ReplayWindow, "claim", fresh):
        await trio.lowlevel.checkpoint()
        yield


@asynccontextmanager
async def second_factors_are_forgotten(world: World) -> AsyncIterator[None]:
    """F-29: the ledger does not note on which key a second factor was spent."""
    keys = world.stores.ledger.keys
    claim = keys.claim

    def forgetful(asked: Claiming) -> Judged:
        return claim(replace(asked, attestation=None))

    nothing: Callable[[str], None] = lambda _: None  # noqa: E731 -- in the place of a method
    with instead(keys, "claim", forgetful), instead(keys, "spent_on", nothing):
        await trio.lowlevel.checkpoint()
        yield


@asynccontextmanager
async def cache_keys_collide(world: World) -> AsyncIterator[None]:
    """F-30: the tenant is left out of what the cache's keys are written as."""
    del world  # keys are written by a class

    def without_tenant(key: Key) -> str:
        return "|".join(f"{len(part)}:{part}" for part in (key.kind, *key.parts))

    with instead(CacheKey, "text", without_tenant):
        await trio.lowlevel.checkpoint()
        yield


@asynccontextmanager
async def ends_are_not_heard(world: World) -> AsyncIterator[None]:
    """F-31: a force-logout is taken, and neither it nor the word that a session has ended reaches anybody."""
    bus = world.stores.tier.bus
    post, say = bus.post, bus.say

    async def swallows(postings: Sequence[Posting]) -> tuple[Position, ...] | Down:
        return await post([_to_nobody(one) for one in postings])

    async def says_less(word: Word) -> Down | None:
        if isinstance(word, Ended):
            await trio.lowlevel.checkpoint()
            return None
        return await say(word)

    with instead(bus, "post", swallows), instead(bus, "say", says_less):
        await trio.lowlevel.checkpoint()
        yield


def _to_nobody(one: Posting) -> Posting:
    said = msgspec.json.decode(one.payload, type=Said)
    if said.type != "force-logout":
        return one
    return replace(one, payload=msgspec.json.encode(msgspec.structs.replace(said, device_id=DeviceId("nobody"))))


@asynccontextmanager
async def keys_are_forgotten(world: World) -> AsyncIterator[None]:
    """F-32: neither the ledger nor any service knows an idempotency key again: each try is done once more."""
    keys, numbers = world.stores.ledger.keys, count(1)
    claim, record = keys.claim, keys.record
    latest: dict[KeyId, KeyId] = {}

    def claimed(asked: Claiming) -> Judged:
        latest[asked.id] = other = replace(asked.id, key=f"{asked.id.key} {next(numbers)}")
        return claim(replace(asked, id=other))

    def recorded(what: Recording) -> bool:
        return record(replace(what, id=latest.get(what.id, what.id)))

    with ExitStack() as mistakes:
        mistakes.enter_context(instead(keys, "claim", claimed))
        mistakes.enter_context(instead(keys, "record", recorded))
        for door in world.estate.doors.values():
            mistakes.enter_context(instead(door.service, "answer", _keyless(door.service.answer)))
        await trio.lowlevel.checkpoint()
        yield


def _keyless(answer: Callable[[Operation, Call], Reply]) -> Callable[[Operation, Call], Reply]:
    return lambda operation, call: answer(operation, replace(call, key=None))


@asynccontextmanager
async def bus_is_deaf(world: World) -> AsyncIterator[None]:
    """F-34: nothing comes over the bus any more to the first server, though each of its lines looks well."""

    async def nothing(after: str) -> Passage:
        await trio.sleep(FOLLOW_SECONDS)
        return Passage((), after)

    with instead(next(iter(world.lines.values())), "follow", nothing):
        await trio.lowlevel.checkpoint()
        yield


@asynccontextmanager
async def cursor_moves_unseen(world: World) -> AsyncIterator[None]:
    """F-35: sync-service moves the cursor of every device that is known here, without a word to this server.

    Where none is, one shakes hands first.
    """
    mirrors = world.stores.ledger.mirrors
    if not mirrors.cursors(("", ""), 1):
        desk = await world.desk(device="wanderer")
        await desk.ask("POST", "/v1/sync/handshake", body={"cursor": None})
    service = world.estate.doors["sync"].service
    (handshake,) = (one for one in service.operations if one.name == "handshake")
    for kept in mirrors.cursors(("", ""), DEVICES):
        call = Call("handshake", kept.tenant, "", None, {"did": kept.device}, {}, {"cursor": kept.cursor}, None)
        service.answer(handshake, call)
    yield


@asynccontextmanager
async def tier_has_no_room(world: World) -> AsyncIterator[None]:
    """F-41: the session tier's memory is full, and it evicts nothing: it answers, and takes no proof."""

    async def full(proof: Presented) -> Standing | Down:
        del proof
        await trio.lowlevel.checkpoint()
        return Down("OOM command not allowed when used memory > 'maxmemory'")

    with instead(world.stores.tier, "present", full):
        await trio.lowlevel.checkpoint()
        yield
