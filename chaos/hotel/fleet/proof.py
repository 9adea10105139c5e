"""A desk's key and its proofs of possession (RFC 9449, section 4.2): the other side of the gate, written apart from it.

`make_proof` makes good ones; `claims` and `header` go over what it would say, and the key's own `signed` puts any bytes
at all into a valid signature, so that whoever tests a gate can say what is not so, and have it signed.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from chaos.hotel.estate.signing import Signer, b64url, make_signer

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaos.hotel.estate.signing import Json

Key: TypeAlias = Signer

# What is public of a key on P-256 (RFC 7518, 6.2.1): a proof carries nothing else of it.
MEMBERS: Final = ("crv", "kty", "x", "y")


def make_key(entropy: Callable[[int], bytes]) -> Key:
    """A key out of `entropy`: the same seed gives the same key, and its proofs byte for byte. Its `kid` is the jkt."""
    return make_signer(entropy)


def make_proof(
    key: Key,
    method: str,
    url: str,
    *,
    token: str | None,
    now: float,
    jti: str,
    claims: Json | None = None,
    header: Json | None = None,
) -> str:
    """The value of `DPoP` for one request made `now` (POSIX seconds); `token` is the access token sent with it, if any.

    What a `url` has of query and fragment is left out. `jti` must be new each time.
    """
    bare = url.partition("#")[0].partition("?")[0]
    said: dict[str, object] = {"jti": jti, "htm": method, "htu": bare, "iat": now}
    if token is not None:
        said["ath"] = b64url(sha256(token.encode()).digest())
    head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": {name: key.jwk[name] for name in MEMBERS}}
    return key.signed(msgspec.json.encode({**head, **(header or {})}), msgspec.json.encode({**said, **(claims or {})}))
