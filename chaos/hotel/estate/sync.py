"""sync: how far each device has synchronised. This service is the authority; every other copy may be behind (F-35).

A cursor is `c-` and a number, which grows by one with each handshake. A device that names another one than the last it
was given has lost its way, and is told so: `staleSync`. Devices are not registered anywhere: whoever shakes hands is
one, and one that has not yet is at the beginning.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from chaos.hotel.estate.grounds import Grounds
from chaos.hotel.estate.service import Call, Operation, Reply, changes, reads

DEVICES_KEPT = 20_000
BEGINNING = 1


class Handshake(msgspec.Struct):
    """Where the device believes to be; null where it does not know."""

    cursor: str | None


class Sync:
    """The cursors of all devices, by tenant."""

    def __init__(self, grounds: Grounds) -> None:
        self._grounds = grounds
        self._at: OrderedDict[tuple[str, str], int] = OrderedDict()

    def operations(self) -> list[Operation]:
        return [
            changes("handshake", path="/devices/{did}/handshake", handler=self._handshake),
            reads("cursor", path="/devices/{did}/cursor", handler=self._cursor, kept=False),
        ]

    def _handshake(self, call: Call) -> Reply:
        asked = call.asked(Handshake)
        place = (call.tenant, call.fields["did"])
        at = self._at.pop(place, BEGINNING)
        self._at[place] = at + 1
        if len(self._at) > DEVICES_KEPT:
            self._at.popitem(last=False)
        stale = asked.cursor is not None and asked.cursor != _cursor(at)
        return self._answer(call, at + 1, stale, effect=True)

    def _cursor(self, call: Call) -> Reply:
        at = self._at.get((call.tenant, call.fields["did"]), BEGINNING)
        return self._answer(call, at, stale=False)

    def _answer(self, call: Call, at: int, stale: bool, *, effect: bool = False) -> Reply:
        body = {"tenantId": call.tenant, "deviceId": call.fields["did"], "cursor": _cursor(at)}
        return Reply(200, {**body, "serverTime": self._grounds.moment(), "staleSync": stale}, effect)


def _cursor(at: int) -> str:
    return f"c-{at:06d}"
