"""A desk's proofs, looked at with the standard library and `cryptography` alone: the RFC is the only judge here."""

import base64
import json
import random
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from chaos.hotel.fleet.proof import make_key, make_proof

URL = "https://desk.example/v1/dashboard"


def a_key(seed=7):
    return make_key(random.Random(seed).randbytes)


def raw(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def opened(proof):
    header, claims, signature = proof.split(".")
    return json.loads(raw(header)), json.loads(raw(claims)), raw(signature)


def a_proof(key=None, **more):
    return make_proof(key or a_key(), "GET", URL, **{"token": None, "now": 1.5, "jti": "j"} | more)


def test_a_proof_says_what_the_rfc_asks_for_and_no_more():
    """RFC 9449, 4.2."""
    header, claims, _ = opened(a_proof(token="t"))
    assert header.keys() == {"typ", "alg", "jwk"}
    assert (header["typ"], header["alg"]) == ("dpop+jwt", "ES256")
    assert header["jwk"].keys() == {"kty", "crv", "x", "y"}
    ath = base64.urlsafe_b64encode(sha256(b"t").digest()).decode().rstrip("=")
    assert claims == {"jti": "j", "htm": "GET", "htu": URL, "iat": 1.5, "ath": ath}


def test_without_a_token_it_says_nothing_of_one_and_a_query_is_left_out():
    _, claims, _ = opened(make_proof(a_key(), "GET", f"{URL}?propertyId=p1#x", token=None, now=1.5, jti="j"))
    assert claims == {"jti": "j", "htm": "GET", "htu": URL, "iat": 1.5}


def test_it_is_signed_by_the_key_that_it_carries_and_the_jkt_is_that_key_s_thumbprint():
    key = a_key()
    proof = a_proof(key)
    header, _, signature = opened(proof)
    x, y = (int.from_bytes(raw(header["jwk"][name]), "big") for name in "xy")
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    public.verify(der, proof.rpartition(".")[0].encode(), ec.ECDSA(SHA256()))
    members = json.dumps(dict(sorted(header["jwk"].items())), separators=(",", ":"))
    assert raw(key.kid) == sha256(members.encode()).digest()


def test_the_same_seed_gives_the_same_proof_byte_for_byte():
    assert a_proof() == a_proof()
    assert a_proof() != a_proof(a_key(8))


def test_what_a_test_says_instead_goes_over_what_a_desk_would_say():
    header, claims, _ = opened(a_proof(claims={"iat": "now", "more": None}, header={"alg": "none"}))
    assert (header["alg"], claims["iat"], claims["more"], claims["jti"]) == ("none", "now", None, "j")


def test_any_bytes_can_be_signed():
    header, claims, signature = map(raw, a_key().signed(b"{", b"\xff").split("."))
    assert (header, claims, len(signature)) == (b"{", b"\xff", 64)
