"""What can be wrong with a request, by the rung that says so, and what is answered then: CONTRACT section 2."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bff.gate.replay import Verdict
from bff.model import Jkt
from chaos.hotel.estate.hotel import build_hotel
from chaos.hotel.fleet.proof import make_key
from chaos.sim.entropy import entropy

if TYPE_CHECKING:
    from chaos.hotel.sweeps.attempt import Attempt

SUSPENDED: Final = "suspended"
WINDOW: Final = 60.0  # seconds that a proof may be off


@dataclass(frozen=True, slots=True)
class Wrong:
    """One thing that `do` makes wrong: `rung` refuses it with `answer`, a status and a code."""

    rung: int
    answer: tuple[int, str]
    do: Callable[[Attempt], None]


def _draining(at: Attempt) -> None:
    at.admission.draining = True
    at.undo.callback(setattr, at.admission, "draining", False)


def _overloaded(at: Attempt) -> None:
    places = at.admission.places
    for _ in range(places.limit - places.kept - places.in_use):
        place = places.enter()
        assert place is not None, "there are so many"
        at.undo.callback(place.leave)


def _too_fast(at: Attempt) -> None:
    at.hasty = True


def _no_token(at: Attempt) -> None:
    at.extra["authorization"] = None


def _bearer(at: Attempt) -> None:
    at.extra["authorization"] = f"Bearer {at.token()}"


def _foreign_issuer(at: Attempt) -> None:
    at.claims["iss"] = "https://elsewhere.example"


def _foreign_audience(at: Attempt) -> None:
    at.claims["aud"] = "somebody-else"


def _no_proof(at: Attempt) -> None:
    at.extra["dpop"] = None


def _other_method(at: Attempt) -> None:
    at.method = "POST"


def _other_path(at: Attempt) -> None:
    at.path = "/v1/session"


def _other_origin(at: Attempt) -> None:
    at.origin = "https://elsewhere.example"


def _other_token(at: Attempt) -> None:
    at.for_token = at.token(jti="another")


def _other_key(at: Attempt) -> None:
    at.key = make_key(entropy(at.number, "another key"))


def _too_old(at: Attempt) -> None:
    at.older = WINDOW + 1


def _from_the_future(at: Attempt) -> None:
    at.older = -WINDOW - 1


def _seen(at: Attempt) -> None:
    verdict = at.gate.window.claim(Jkt(at.desk.key.kid), at.jti, at.world.now())
    assert verdict is Verdict.FRESH, "a proof of its own"


def _expired(at: Attempt) -> None:
    at.claims["exp"] = at.world.now()


def _ended(at: Attempt) -> None:
    at.gate.ended.add(at.tenant, at.session)


def _foreign_device(at: Attempt) -> None:
    at.extra["x-device-id"] = "another-desk"


def _no_device(at: Attempt) -> None:
    at.extra["x-device-id"] = None


def _suspended(_: Attempt) -> None:
    """It is so in all of its world."""


def _out_of_scope(at: Attempt) -> None:
    mine = {one["id"] for one in at.desk.session.properties} if at.desk.session is not None else set()
    at.query = "propertyId=" + next(one.id for one in build_hotel().properties if one.id not in mine)


def _asked_twice(at: Attempt) -> None:
    at.query = f"propertyId={at.mine}&propertyId={at.mine}"


def _asked_for_nothing(at: Attempt) -> None:
    at.query = "propertyId="


def _tier_down(at: Attempt) -> None:
    at.world.stores.tier.down()
    at.undo.callback(at.world.stores.tier.start)


def _tier_hangs(at: Attempt) -> None:
    at.world.stores.tier.stop()
    at.undo.callback(at.world.stores.tier.start)


def _not_attested(at: Attempt) -> None:
    at.extra["x-mfa-attestation"] = None


def _for_another_thing(at: Attempt) -> None:
    at.attested["res"] = "f-00871"


def _in_another_session(at: Attempt) -> None:
    at.attested["sid"] = "another"


def _too_long_ago(at: Attempt) -> None:
    at.attested["exp"] = at.world.now()


def _spent(at: Attempt) -> None:
    at.spent = True


def _no_key(at: Attempt) -> None:
    at.extra["idempotency-key"] = None


def _key_with_a_space(at: Attempt) -> None:
    at.extra["idempotency-key"] = "a key"


_STRANGER: Final = (401, "SESSION_REQUIRED")
_UNPROVED: Final = (401, "DPOP_INVALID")
_OVER: Final = (401, "SESSION_EXPIRED")
_ELSEWHERE: Final = (403, "DEVICE_MISMATCH")
_INVALID: Final = (400, "VALIDATION_FAILED")
_NO_TIER: Final = (503, "CACHE_UNAVAILABLE")
_UNATTESTED: Final = (401, "MFA_INVALID_OR_USED")
_NO_KEY: Final = (400, "IDEMPOTENCY_KEY_REQUIRED")

WRONG: Final[Mapping[str, Wrong]] = {
    "draining": Wrong(0, (503, "DRAINING"), _draining),
    "overloaded": Wrong(0, (503, "OVERLOADED"), _overloaded),
    "too-fast": Wrong(0, (429, "RATE_LIMITED"), _too_fast),
    "no-token": Wrong(1, _STRANGER, _no_token),
    "bearer": Wrong(1, _STRANGER, _bearer),
    "foreign-issuer": Wrong(1, _STRANGER, _foreign_issuer),
    "foreign-audience": Wrong(1, _STRANGER, _foreign_audience),
    "no-proof": Wrong(2, _UNPROVED, _no_proof),
    "other-method": Wrong(2, _UNPROVED, _other_method),
    "other-path": Wrong(2, _UNPROVED, _other_path),
    "other-origin": Wrong(2, _UNPROVED, _other_origin),
    "other-token": Wrong(2, _UNPROVED, _other_token),
    "other-key": Wrong(2, _UNPROVED, _other_key),
    "too-old": Wrong(2, _UNPROVED, _too_old),
    "from-the-future": Wrong(2, _UNPROVED, _from_the_future),
    "seen": Wrong(2, _UNPROVED, _seen),
    "expired": Wrong(3, _OVER, _expired),
    "ended": Wrong(3, _OVER, _ended),
    "foreign-device": Wrong(4, _ELSEWHERE, _foreign_device),
    "no-device": Wrong(4, _ELSEWHERE, _no_device),
    SUSPENDED: Wrong(5, (503, "TENANT.SUSPENDED"), _suspended),
    "out-of-scope": Wrong(6, (403, "PROPERTY_OUT_OF_SCOPE"), _out_of_scope),
    "asked-twice": Wrong(6, _INVALID, _asked_twice),
    "asked-for-nothing": Wrong(6, _INVALID, _asked_for_nothing),
    "tier-down": Wrong(7, _NO_TIER, _tier_down),
    "tier-hangs": Wrong(7, _NO_TIER, _tier_hangs),
    "not-attested": Wrong(8, (401, "MFA_REQUIRED"), _not_attested),
    "attested-for-another-thing": Wrong(8, _UNATTESTED, _for_another_thing),
    "attested-in-another-session": Wrong(8, _UNATTESTED, _in_another_session),
    "attested-too-long-ago": Wrong(8, _UNATTESTED, _too_long_ago),
    "attestation-spent": Wrong(8, _UNATTESTED, _spent),
    "no-key": Wrong(9, _NO_KEY, _no_key),
    "key-with-a-space": Wrong(9, _NO_KEY, _key_with_a_space),
}
