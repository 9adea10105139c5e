"""iam's key: ES256 (RFC 7518, section 3.4) over the compact form of RFC 7515, with `cryptography` and nothing else.

The key is derived from the entropy it is given, and signatures are deterministic (RFC 6979): the same seed gives the
same tokens, byte for byte, which a virtual run needs and a real one does not mind.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

# The order of P-256 (SEC 2, section 2.4.2): private keys are 1 to ORDER - 1.
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
WIDTH = 32  # bytes of a coordinate, and of each half of a signature
ALGORITHM = ec.ECDSA(SHA256(), deterministic_signing=True)

Entropy = Callable[[int], bytes]
Json = Mapping[str, Any]


def b64url(raw: bytes) -> str:
    """Base64url without padding (RFC 7515, section 2)."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key and the names by which its signatures are known; `kid` is its RFC 7638 thumbprint."""

    key: ec.EllipticCurvePrivateKey
    kid: str
    jwk: Mapping[str, str]

    def token(self, claims: Json, header: Json) -> str:
        """`claims` signed. `header` goes over the usual one, and a null takes away.

        It may say what is not so: tests of a gate need that.
        """
        head = without_nulls({"alg": "ES256", "kid": self.kid, **header})
        return self.signed(msgspec.json.encode(head), msgspec.json.encode(claims))

    def signed(self, header: bytes, payload: bytes) -> str:
        """A compact JWS over exactly these bytes, whatever they are."""
        content = f"{b64url(header)}.{b64url(payload)}"
        r, s = decode_dss_signature(self.key.sign(content.encode(), ALGORITHM))
        return f"{content}.{b64url(r.to_bytes(WIDTH, 'big') + s.to_bytes(WIDTH, 'big'))}"


def make_signer(entropy: Entropy) -> Signer:
    """A key out of 48 bytes of `entropy`: 16 more than it has, so that the remainder is as good as uniform."""
    secret = int.from_bytes(entropy(WIDTH + 16), "big") % (ORDER - 1) + 1
    key = ec.derive_private_key(secret, ec.SECP256R1())
    public = key.public_key().public_numbers()
    point = {
        "crv": "P-256",
        "kty": "EC",
        "x": b64url(public.x.to_bytes(WIDTH, "big")),
        "y": b64url(public.y.to_bytes(WIDTH, "big")),
    }
    kid = b64url(sha256(msgspec.json.encode(point)).digest())  # members in the order RFC 7638 wants
    return Signer(key, kid, {**point, "kid": kid, "alg": "ES256", "use": "sig"})


def unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a compact JWT, unchecked. Raises `ValueError` when it is not one."""
    parts = token.split(".")
    if len(parts) != 3:
        raise ValueError("a compact JWT has three parts")
    try:
        head, claims = (msgspec.json.decode(_bytes(part), type=dict[str, Any]) for part in parts[:2])
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
    return head, claims


def without_nulls(members: Json) -> dict[str, Any]:
    """`members` but for those that are null."""
    return {name: value for name, value in members.items() if value is not None}


def _bytes(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))
