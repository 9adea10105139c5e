"""Which codes a route can refuse with, out of its row: what the door, the rungs of the gate, the body and the room each
may say. Nothing is decided by this; it is what the contract's document promises, and tests hold every answer to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bff.problem import Code
from bff.routes import Asks
from bff.writes.conclusion import NO_ANSWERS

if TYPE_CHECKING:
    from bff.routes import Route
    from bff.writes.actions import Action

DOOR: Final = (Code.HALTED, Code.VALIDATION_FAILED, Code.UPSTREAM_TIMEOUT, Code.INTERNAL)  # 400: `X-Deadline-Ms`
BODY: Final = (Code.PAYLOAD_TOO_LARGE, Code.UNSUPPORTED_MEDIA_TYPE, Code.VALIDATION_FAILED, Code.REQUEST_TIMEOUT)
RUNGS: Final[dict[int, tuple[Code, ...]]] = {  # CONTRACT section 2, by the rungs' numbers
    0: (Code.DRAINING, Code.OVERLOADED, Code.RATE_LIMITED),
    1: (Code.SESSION_REQUIRED, Code.UPSTREAM_UNAVAILABLE, Code.SCHEMA_DRIFT),  # 502: iam's keys were never read
    2: (Code.DPOP_INVALID,),
    3: (Code.SESSION_EXPIRED,),
    4: (Code.DEVICE_MISMATCH,),
    5: (Code.TENANT_SUSPENDED,),
    6: (Code.PROPERTY_OUT_OF_SCOPE, Code.VALIDATION_FAILED),
    7: (Code.CACHE_UNAVAILABLE,),
    8: (Code.MFA_REQUIRED, Code.MFA_INVALID_OR_USED, Code.STORE_UNAVAILABLE),
    9: (Code.IDEMPOTENCY_KEY_REQUIRED,),
}
# Under which statuses a service's refusal of a change goes through: a 4xx that is an answer; 404 has a code of its own.
REFUSED: Final = frozenset(range(400, 500)) - NO_ANSWERS - {404}


def refusals(row: Route) -> tuple[Code, ...]:
    """Every code that an answer to the route may have, in the order of `Code`."""
    found = {*DOOR, *row.says, *(code for number in _rungs(row) for code in RUNGS[number])}
    if row.body is not None:
        found.update(BODY)
    if row.action is not None:
        found.update(_of_a_change(row.action))
    if "{" in row.path:
        found.add(Code.NOT_FOUND)  # what is no id is no path either
    return tuple(code for code in Code if code in found)


def by_status(row: Route) -> dict[str, tuple[Code, ...]]:
    """The same by status, as OpenAPI names it: `4XX` for a service's refusal, which may also have a status of ours."""
    found: dict[str, tuple[Code, ...]] = {}
    codes = refusals(row)
    for code in codes:
        if code is not Code.UPSTREAM_REFUSED:
            found[str(code.status)] = (*found.get(str(code.status), ()), code)
    if Code.UPSTREAM_REFUSED in codes:
        for status in found.keys() & {str(status) for status in REFUSED}:
            found[status] += (Code.UPSTREAM_REFUSED,)
        found["4XX"] = (Code.UPSTREAM_REFUSED,)
    return dict(sorted(found.items()))


def _rungs(row: Route) -> tuple[int, ...]:
    """The numbers of the rungs that a request for this route can fall from."""
    if row.gate is Asks.NOTHING:
        return ()
    if row.gate is Asks.KNOCK:
        return (0, 2)
    above = ((7, row.tier), (8, row.action is not None and bool(row.action.attests)), (9, row.action is not None))
    return (*range(7), *(number for number, there in above if there))


def _of_a_change(action: Action) -> tuple[Code, ...]:
    """What `writes/mutation.py` says, and what becomes of the service's answer in `writes/conclusion.py`."""
    always = (
        Code.HALTED,
        Code.IDEMPOTENCY_IN_PROGRESS,
        Code.IDEMPOTENCY_KEY_REUSED,
        Code.STORE_UNAVAILABLE,
        Code.UPSTREAM_TIMEOUT,
        Code.UPSTREAM_REFUSED,
        Code.NOT_FOUND,
        Code.OVERLOADED,
    )
    audited = (Code.LOCK_PROXY_FROZEN, Code.UPSTREAM_UNAVAILABLE) if action.audited else ()
    mirrored = (Code.PREFERENCES_UNAVAILABLE,) if action.mirrored else ()
    return (*always, *audited, *mirrored)
