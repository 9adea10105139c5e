"""Rung 2: is this proof of possession a proof of this very request? RFC 9449 section 4.3, rule by rule, and pure.

Whatever a proof says of itself is judged here; whether it was seen before is a memory's business (`replay`, and the
session tier), and nothing of a proof is ever cached. What is kept is the reading of its header: a device sends the same
one with every request, and the key in it costs more to parse than all the rest but the signature itself.

Where the RFC leaves room, CONTRACT section 2 decides: the window is 60 s to both sides, `typ` counts in any case,
`crit` and `b64` are refused, and URLs are compared after the normalisation of RFC 3986 section 6.2.2 and 6.2.3.

Without an access token (sign-in, refresh) rule 12 has nothing to compare: an `ath` in such a proof is one more claim
that this server does not ask about, and "additional claims … MAY be used" (RFC 9449, 4.2), so it is not judged at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv6Address
from typing import Any, Final

from bff.model import Jkt
from bff.wire.jose import (
    LONGEST,
    PRIVATE,
    Compact,
    Malformed,
    PublicKey,
    compact,
    from_base64url,
    public_key,
    strict_json,
    to_base64url,
    verifies,
)

WINDOW: Final = 60.0  # seconds between a proof's `iat` and our clock, to both sides
LONGEST_JTI: Final = 256  # characters
HEADERS_KEPT: Final = 4096  # readings of a proof's header: one per device that was here lately
LONGEST_KEPT: Final = 1024  # bytes of a header that is kept; a usual one has 230


class Why(StrEnum):
    """Which rule a proof broke, in the order of RFC 9449, 4.3; the rule's number there is behind it."""

    ABSENT = "absent"  # 1: no DPoP header at all
    SEVERAL = "several"  # 1
    SIZE = "size"  # 2: over 8 KiB
    MALFORMED = "malformed"  # 2
    CLAIMS = "claims"  # 3: `jti`, `htm`, `htu` or `iat` is missing, or not of its type
    TYP = "typ"  # 4
    ALG = "alg"  # 5
    EXTENSION = "extension"  # 5: `crit` or `b64`, which change what is signed (RFC 7515, 4.1.11; RFC 7797)
    JWK = "jwk"  # 6: no public key on P-256
    SIGNATURE = "signature"  # 6
    PRIVATE = "private"  # 7
    METHOD = "method"  # 8
    URL = "url"  # 9
    OLD = "old"  # 11; 10 is about nonces, and this server gives none
    FUTURE = "future"  # 11
    TOKEN = "token"  # 12a: `ath`  # noqa: S105 -- a rule's name
    KEY = "key"  # 12b: not the key that the token is bound to


WHYS: Final = frozenset(why.value for why in Why)


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof that holds: the thumbprint of its key, its id, and when it was made, in POSIX seconds."""

    jkt: Jkt
    jti: str
    issued_at: float


@dataclass(frozen=True, slots=True)
class BadProof:
    """A proof that does not hold; `why` is one of `WHYS`."""

    why: str


@dataclass(frozen=True, slots=True)
class _Head:
    """What a proof's header says. `key` is None where its `jwk` is no public key on P-256."""

    typ: object
    alg: object
    extended: bool
    key: PublicKey | None
    private: bool


def judge_proof(
    headers: tuple[bytes, ...], *, method: str, url: str, now: float, token: bytes | None, jkt: Jkt | None
) -> Proof | BadProof:
    """Judge the values of the `DPoP` header of a request for `method` and `url` (scheme, host and path), made `now`.

    `token` is the access token that came with it, as it came, and `jkt` the key it is bound to; None where there is
    none. `now` is in POSIX seconds. Never raises for anything that can come over the wire.
    """
    if not headers:
        return BadProof(Why.ABSENT)
    if len(headers) > 1:
        return BadProof(Why.SEVERAL)
    if len(headers[0]) > LONGEST:
        return BadProof(Why.SIZE)
    try:
        jws = compact(headers[0])
        head = _head(jws.header)
        claims = strict_json(from_base64url(jws.payload))
    except Malformed:
        return BadProof(Why.MALFORMED)
    key = _signing_key(head, claims, jws)
    if isinstance(key, Why):
        return BadProof(key)
    why = _meant_otherwise(claims, method, url, now) or _bound_otherwise(claims, key, token, jkt)
    return BadProof(why) if why else Proof(key.thumbprint, claims["jti"], float(claims["iat"]))


def _signing_key(head: _Head, claims: dict[str, Any], jws: Compact) -> PublicKey | Why:
    """Rules 3 to 7: is it a proof at all, and whose?"""
    if not _complete(claims):
        return Why.CLAIMS
    if not isinstance(head.typ, str) or head.typ.lower() != "dpop+jwt":
        return Why.TYP
    if head.alg != "ES256":
        return Why.ALG
    if head.extended:
        return Why.EXTENSION
    if head.key is None:
        return Why.JWK
    if not verifies(head.key.key, jws):
        return Why.SIGNATURE
    if head.private:
        return Why.PRIVATE
    return head.key


def _complete(claims: dict[str, Any]) -> bool:
    jti = claims.get("jti")
    return (
        isinstance(jti, str)
        and 1 <= len(jti) <= LONGEST_JTI
        and isinstance(claims.get("htm"), str)
        and isinstance(claims.get("htu"), str)
        and type(claims.get("iat")) in (int, float)  # by `type`, since True is an int
    )


def _meant_otherwise(claims: dict[str, Any], method: str, url: str, now: float) -> Why | None:
    """Rules 8 to 11: was it made for another request, or at another time?"""
    if claims["htm"] != method:  # methods are case-sensitive (RFC 9110, 9.1)
        return Why.METHOD
    asked = normalised(url)
    if asked is None or normalised(claims["htu"]) != asked:
        return Why.URL
    if claims["iat"] < now - WINDOW:
        return Why.OLD
    if claims["iat"] > now + WINDOW:
        return Why.FUTURE
    return None


def _bound_otherwise(claims: dict[str, Any], key: PublicKey, token: bytes | None, jkt: Jkt | None) -> Why | None:
    """Rule 12: was it made for another token, or with another key than the token's?"""
    if token is not None and claims.get("ath") != to_base64url(sha256(token).digest()):
        return Why.TOKEN
    if jkt is not None and key.thumbprint != jkt:
        return Why.KEY
    return None


def _head(segment: bytes) -> _Head:
    return _kept_head(segment) if len(segment) <= LONGEST_KEPT else _read_head(segment)


def _read_head(segment: bytes) -> _Head:
    fields = strict_json(from_base64url(segment))
    jwk = fields.get("jwk")
    return _Head(
        typ=fields.get("typ"),
        alg=fields.get("alg"),
        extended="crit" in fields or "b64" in fields,
        key=public_key(jwk),
        private=isinstance(jwk, dict) and not PRIVATE.isdisjoint(jwk),
    )


_kept_head = lru_cache(HEADERS_KEPT)(_read_head)

# An absolute http(s) URI without query and fragment (RFC 3986, 3; RFC 9110, 4.2). No user: it has no place in a request
# (RFC 9110, 4.2.4). Each `/` begins a new segment, so that no text can be split in two ways.
_PLAIN = r"[a-z0-9._~!$&'()*+,;=-]|%[0-9a-f]{2}"
_URI = re.compile(
    rf"(?P<scheme>https?)://(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>(?:{_PLAIN})+))(?::(?P<port>[0-9]{{0,5}}))?"
    rf"(?P<path>(?:/(?:{_PLAIN}|[:@])*)*)",
    re.ASCII | re.IGNORECASE,
)
_ENCODED = re.compile("%[0-9a-fA-F]{2}")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")
_PORTS = {"http": 80, "https": 443}


def normalised(url: str) -> str | None:
    """`url` in the one form that all its equivalents share (RFC 3986, 6.2.2 and 6.2.3), without query and fragment.

    Case of scheme, host and percent-encoding, letters that need no encoding, dot segments, the default port and an
    empty path make no difference; a trailing slash, an empty segment and the case of a path do. None for what is no
    absolute http or https URI.
    """
    return _normalised(url.partition("#")[0].partition("?")[0])


@lru_cache(HEADERS_KEPT)
def _normalised(url: str) -> str | None:
    found = _URI.fullmatch(url)
    if found is None:
        return None
    scheme = found["scheme"].lower()
    port = int(found["port"] or _PORTS[scheme])
    try:
        host = _host(found["name"]) if found["v6"] is None else f"[{IPv6Address(found['v6']).compressed}]"
    except ValueError:
        return None
    if port > 65535:
        return None
    authority = host if port == _PORTS[scheme] else f"{host}:{port}"
    return f"{scheme}://{authority}{_without_dots(_settled(found['path']))}"


def _host(name: str) -> str:
    return _settled(_settled(name).lower())  # the second time gives encoded letters their upper case back


def _settled(text: str) -> str:
    """Percent-encoding in its one form: none where it is not needed, capitals where it is."""
    return _ENCODED.sub(_settled_one, text) if "%" in text else text


def _settled_one(encoded: re.Match[str]) -> str:
    letter = chr(int(encoded[0][1:], 16))
    return letter if _UNRESERVED.fullmatch(letter) else encoded[0].upper()


def _without_dots(path: str) -> str:
    """RFC 3986, 5.2.4, for an absolute path; an empty one is `/` (6.2.3)."""
    kept: list[str] = []
    segments = path.split("/")[1:] or [""]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)
