"""RS256 as far as this house reads it: what Google signs with. Nothing here is ever signed by it.

The same strictness as `jose`, whose base64url and JSON it shares. A key has 2,048 bits at least (RFC 7518, 3.3) and
8,192 at most, since who publishes it chooses what a signature costs us; its exponent is odd, from 3 to 32 bits long.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from bff.model import Jkt
from bff.wire.jose import Malformed, from_base64url, to_base64url

if TYPE_CHECKING:
    from bff.wire.jose import Compact

BITS: Final = range(2048, 8193)
LARGEST_EXPONENT: Final = 2**32


@dataclass(frozen=True, slots=True)
class RsaKey:
    """A key and its RFC 7638 thumbprint."""

    key: rsa.RSAPublicKey
    thumbprint: Jkt


def verifies(key: rsa.RSAPublicKey, jws: Compact) -> bool:
    """Whether `key` signed it with RS256, whatever its header says: the algorithm is not the sender's to choose."""
    try:
        key.verify(jws.signature, jws.signed, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def rsa_key(jwk: object) -> RsaKey | None:
    """The key of a JWK that may sign with RS256, or None where it is none, or says that it is for something else."""
    if not isinstance(jwk, dict) or jwk.get("kty") != "RSA":
        return None
    if jwk.get("use", "sig") != "sig" or jwk.get("alg", "RS256") != "RS256":
        return None
    n, e = jwk.get("n"), jwk.get("e")
    if not isinstance(n, str) or not isinstance(e, str):
        return None
    try:
        modulus, exponent = _number(n), _number(e)
        if modulus.bit_length() not in BITS or exponent >= LARGEST_EXPONENT:
            return None
        key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError:
        return None
    return RsaKey(key, Jkt(to_base64url(sha256(f'{{"e":"{e}","kty":"RSA","n":"{n}"}}'.encode()).digest())))


def _number(text: str) -> int:
    """A Base64urlUInt (RFC 7518, 2): no zero in front, so that a number has one spelling. Raises `Malformed`."""
    raw = from_base64url(text.encode())
    if not raw or raw[0] == 0:
        raise Malformed("not a number in its one spelling")
    return int.from_bytes(raw, "big")
