"""lock-integration: keys to doors, issued and revoked, and what became of each attempt.

Every guest in the house has a key from the morning on (`k-` and the row of the booking). What an attempt came to can be
asked by its idempotency key, since the answer to it may have been lost: 404 means that it never came here.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any

import msgspec

from chaos.hotel.estate.grounds import Grounds, Shelf, absent
from chaos.hotel.estate.hotel import Property, Room, Stay
from chaos.hotel.estate.service import Call, Handler, Operation, Refusal, Reply, changes, reads

OUTCOMES_KEPT = 100_000
CHECK_OUT = "12:00:00.000Z"  # the hour of the last day at which the morning's keys end

Words = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class Issue(msgspec.Struct, rename="camel"):
    """For whom, and until when."""

    reservation_id: str
    valid_until: Annotated[datetime, msgspec.Meta(tz=True)]


class Revocation(msgspec.Struct):
    """Why it ends early."""

    reason: Words


@dataclass(frozen=True, slots=True)
class Key:
    """A key; `revoked_at` is null while it opens the door."""

    id: str
    lock_id: str
    reservation_id: str
    valid_until: str
    revoked_at: str | None = None

    def shown(self, house: Property) -> dict[str, Any]:
        return {
            "tenantId": house.tenant_id,
            "propertyId": house.id,
            "keyId": self.id,
            "lockId": self.lock_id,
            "reservationId": self.reservation_id,
            "validUntil": self.valid_until,
            "revokedAt": self.revoked_at,
        }


class Locks:
    """The locks of every room, the keys to them, and the memory of attempts."""

    def __init__(self, grounds: Grounds) -> None:
        self._grounds = grounds
        self._locks: Shelf[Room] = Shelf("lock")
        self._stays: Shelf[Stay] = Shelf("reservation")
        self._keys: Shelf[Key] = Shelf("key")
        self._cut = 0
        self._outcomes: OrderedDict[tuple[str, str, str], tuple[str, Reply]] = OrderedDict()
        for house in grounds.hotel.properties:
            for room in house.rooms:
                self._locks.put(house, room.lock_id, room)
            for stay in house.stays:
                self._stays.put(house, stay.id, stay)
            for stay in house.present():
                if stay.room is not None:
                    ends = f"{stay.departure}T{CHECK_OUT}"
                    key = Key(f"k-{stay.booking.row:05d}", stay.room.lock_id, stay.id, ends)
                    self._keys.put(house, key.id, key)

    def operations(self) -> list[Operation]:
        return [
            changes("issueKey", path="/locks/{id}/keys", handler=self._remembering(self._issue)),
            changes("revokeKey", path="/locks/{id}/keys/{keyId}/revoke", handler=self._remembering(self._revoke)),
            reads("outcome", path="/operations/{key}", handler=self._outcome, kept=False),
        ]

    def _remembering(self, handler: Handler) -> Handler:
        """`handler`, with a memory of what each idempotency key came to."""

        def remembered(call: Call) -> Reply:
            try:
                reply = handler(call)
            except Refusal as refusal:
                reply = refusal.reply(call)
            if call.key is not None:
                self._outcomes[call.tenant, call.operator, call.key] = (call.operation, reply)
                if len(self._outcomes) > OUTCOMES_KEPT:
                    self._outcomes.popitem(last=False)
            return reply

        return remembered

    def _issue(self, call: Call) -> Reply:
        house, room = self._locks.find(call)
        asked = call.asked(Issue)
        place, stay = self._stays.find(call, asked.reservation_id)
        if place is not house:
            raise absent("reservation")
        self._cut += 1
        until = msgspec.to_builtins(asked.valid_until)
        key = Key(f"k-{room.lock_id.removeprefix('lock-')}-{self._cut}", room.lock_id, stay.id, until)
        self._keys.put(house, key.id, key)
        return Reply(201, key.shown(house), effect=True)

    def _revoke(self, call: Call) -> Reply:
        """A key that was revoked already stays so: the same answer, and no effect."""
        house, room = self._locks.find(call)
        _, key = self._keys.find(call, call.fields["keyId"])
        if key.lock_id != room.lock_id:
            raise absent("key")
        call.asked(Revocation)
        if key.revoked_at is not None:
            return Reply(200, key.shown(house))
        key = replace(key, revoked_at=self._grounds.moment())
        self._keys.put(house, key.id, key)
        return Reply(200, key.shown(house), effect=True)

    def _outcome(self, call: Call) -> Reply:
        found = self._outcomes.get((call.tenant, call.operator, call.fields["key"]))
        if found is None:
            raise absent("operation")
        operation, reply = found
        body = {
            "tenantId": call.tenant,
            "key": call.fields["key"],
            "operation": operation,
            "outcome": "success" if reply.status < 400 else "failure",
            "status": reply.status,
            "answer": reply.body,
        }
        return Reply(200, body)
