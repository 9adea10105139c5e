"""JOSE as far as this house speaks it: the compact JWS, ES256, public keys on P-256. Read strictly, judged elsewhere.

Two parties that read the same bytes differently is all that an attack on signatures needs, so there is one reading and
everything else is `Malformed`:

    base64url   the alphabet of RFC 4648 section 5, no padding, no stray bits: each value has exactly one spelling
    JSON        UTF-8, an object, no member twice (RFC 8725, 2.4; readers differ on which counts), no NaN, no Infinity,
                no lone surrogate, no control characters in strings, no deeper than Python recurses
    JWS         three parts, and a signature of exactly 64 bytes (RFC 7518, 3.4)
    JWK         kty EC, crv P-256, coordinates of exactly 32 bytes that are below the field's prime and on the curve

So a key has one thumbprint. A signature has two forms (s and n - s): nothing here may be keyed by it, and nothing is.
"""

from __future__ import annotations

import binascii
import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from bff.model import Jkt

LONGEST: Final = 8192  # bytes of a token or a proof
WIDTH: Final = 32  # bytes of a coordinate, and of each half of a signature
# Members that only a private or a symmetric key has (RFC 7518, 6.2.2, 6.3.2, 6.4.1; `priv` of later key types).
PRIVATE: Final = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"))

_ES256 = ec.ECDSA(SHA256())
_P256 = ec.SECP256R1()
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_STANDARD = bytes.maketrans(b"-_", b"+/")
_PADDING = {0: b"", 2: b"==", 3: b"="}
# What a last letter may be when it carries 2, or 4, bits only: those whose other bits are zero.
_LAST = {0: _ALPHABET, 2: _ALPHABET[::16], 3: _ALPHABET[::4]}


class Malformed(ValueError):
    """Not what it should be in form; the text says what, and holds nothing of what came."""


@dataclass(frozen=True, slots=True)
class Compact:
    """A compact JWS (RFC 7515, 7.1), nothing of it verified. `header` and `payload` as they came, still encoded."""

    header: bytes
    payload: bytes
    signed: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key and its RFC 7638 thumbprint."""

    key: ec.EllipticCurvePublicKey
    thumbprint: Jkt


def to_base64url(raw: bytes) -> str:
    """Without padding."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def from_base64url(text: bytes) -> bytes:
    """The bytes that `text` spells. Raises `Malformed` for every spelling but the canonical one."""
    over = len(text) % 4
    if over == 1 or text.translate(None, _ALPHABET) or (text and text[-1] not in _LAST[over]):
        raise Malformed("not canonical base64url")
    return binascii.a2b_base64(text.translate(_STANDARD) + _PADDING[over])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("a member twice")
    return members


def _no_number(literal: str) -> NoReturn:
    raise Malformed(f"{literal} is no number of JSON")


_JSON = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_number)


def strict_json(raw: bytes) -> dict[str, Any]:
    """A JSON object. A number with a fraction or an exponent is a float and may be inf (1e999). Raises `Malformed`."""
    try:
        value = _JSON.decode(raw.decode())
        if b"\\u" in raw:  # only an escape can spell half of a surrogate pair, and such text cannot be encoded again
            json.dumps(value, ensure_ascii=False).encode()
    except Malformed:
        raise
    except (ValueError, RecursionError):
        raise Malformed("not JSON") from None
    if not isinstance(value, dict):
        raise Malformed("not a JSON object")
    return value


def compact(raw: bytes) -> Compact:
    """`raw` in its three parts, the last a signature of ES256. Raises `Malformed`."""
    jws = parted(raw)
    if len(jws.signature) != 2 * WIDTH:
        raise Malformed("not a signature of 64 bytes")
    return jws


def parted(raw: bytes) -> Compact:
    """`raw` in its three parts, the last a signature of whatever. Raises `Malformed`."""
    parts = raw.split(b".")
    if len(parts) != 3:
        raise Malformed("not three parts")
    header, payload, signature = parts
    decoded = from_base64url(signature)
    return Compact(header, payload, raw[: -len(signature) - 1], decoded)


def verifies(key: ec.EllipticCurvePublicKey, jws: Compact) -> bool:
    """Whether `key` signed it with ES256, whatever its header says: the algorithm is not the sender's to choose."""
    halves = (int.from_bytes(half, "big") for half in (jws.signature[:WIDTH], jws.signature[WIDTH:]))
    try:
        key.verify(encode_dss_signature(*halves), jws.signed, _ES256)
    except InvalidSignature:
        return False
    return True


def public_key(jwk: object) -> PublicKey | None:
    """The key of a JWK that may sign with ES256, or None where it is none, or says that it is for something else."""
    if not isinstance(jwk, dict) or jwk.get("kty") != "EC" or jwk.get("crv") != "P-256":
        return None
    if jwk.get("use", "sig") != "sig" or jwk.get("alg", "ES256") != "ES256":
        return None
    x, y = jwk.get("x"), jwk.get("y")
    if not isinstance(x, str) or not isinstance(y, str):
        return None
    try:
        point = b"\4" + _coordinate(x) + _coordinate(y)
        key = ec.EllipticCurvePublicKey.from_encoded_point(_P256, point)
    except ValueError:
        return None
    return PublicKey(key, thumbprint(x, y))


def _coordinate(text: str) -> bytes:
    raw = from_base64url(text.encode())
    if len(raw) != WIDTH:
        raise Malformed("not a coordinate of 32 bytes")
    return raw


def thumbprint(x: str, y: str) -> Jkt:
    """RFC 7638 of the key on P-256 with these coordinates, canonically spelt."""
    members = f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'
    return Jkt(to_base64url(sha256(members.encode()).digest()))
