"""tenant: the people at the desks, how their company stands, and what each of them prefers to see."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from chaos.hotel.estate.grounds import Grounds, absent
from chaos.hotel.estate.hotel import Operator
from chaos.hotel.estate.service import Call, Operation, Refusal, Reply, changes, reads

STATUSES = ("active", "suspended")
MOST_SETTINGS = 64


class Wanted(msgspec.Struct):
    """`version` is the one that was read: whoever read an older one is told so."""

    version: int
    values: dict[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class _Preferences:
    version: int = 1
    values: dict[str, Any] = field(default_factory=dict)


class Tenants:
    """Companies are named by their path, and seen by themselves alone."""

    def __init__(self, grounds: Grounds) -> None:
        self._hotel = grounds.hotel
        self._status = dict.fromkeys(grounds.hotel.by_tenant, STATUSES[0])
        self._preferences = {
            (o.tenant_id, o.operator_id): _Preferences(values={"language": o.language, "startPage": "dashboard"})
            for o in grounds.hotel.operators
        }

    def operations(self) -> list[Operation]:
        return [
            reads("operator", path="/operators/{id}", handler=self._operator),
            reads("status", path="/tenants/{id}", handler=self._standing),
            reads("preferences", path="/operators/{id}/preferences", handler=self._read),
            changes("preferences", method="PUT", path="/operators/{id}/preferences", handler=self._write),
        ]

    def stand(self, tenant: str, status: str) -> bool:
        """Say how a tenant stands; False where there is none, or no such standing."""
        known = tenant in self._status and status in STATUSES
        if known:
            self._status[tenant] = status
        return known

    def _person(self, call: Call) -> Operator:
        operator = self._hotel.by_operator.get((call.tenant, call.fields["id"]))
        if operator is None:
            raise absent("operator")
        return operator

    def _operator(self, call: Call) -> Reply:
        person = self._person(call)
        body = {
            "tenantId": person.tenant_id,
            "operatorId": person.operator_id,
            "displayName": person.display_name,
            "role": person.role,
            "language": person.language,
            "properties": person.properties,
        }
        return Reply(200, body)

    def _standing(self, call: Call) -> Reply:
        if call.fields["id"] != call.tenant or call.tenant not in self._status:
            raise absent("tenant")
        name = self._hotel.by_tenant[call.tenant].name
        return Reply(200, {"tenantId": call.tenant, "status": self._status[call.tenant], "name": name})

    def _read(self, call: Call) -> Reply:
        person = self._person(call)
        return Reply(200, self._shown(person))

    def _write(self, call: Call) -> Reply:
        person, wanted = self._person(call), call.asked(Wanted)
        if len(wanted.values) > MOST_SETTINGS:
            raise Refusal(422, "INVALID", f"at most {MOST_SETTINGS} settings")
        place = (person.tenant_id, person.operator_id)
        if wanted.version != self._preferences[place].version:
            raise Refusal(409, "VERSION_CONFLICT", f"the version is {self._preferences[place].version} now")
        self._preferences[place] = _Preferences(wanted.version + 1, wanted.values)
        return Reply(200, self._shown(person), effect=True)

    def _shown(self, person: Operator) -> dict[str, Any]:
        kept = self._preferences[person.tenant_id, person.operator_id]
        who = {"tenantId": person.tenant_id, "operatorId": person.operator_id}
        return {**who, "version": kept.version, "values": kept.values}
