"""RS256 has one reading too: of the RFC's own example, of keys, and of what is none."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.wire.jose import Malformed, compact, from_base64url, parted, strict_json
from bff.wire.rs256 import rsa_key, verifies

# RFC 7515, appendix A.2: a key and a signature that nothing in this house has made.
KEY = {
    "kty": "RSA",
    "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS"
    "-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg6"
    "65xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuX"
    "poQ",
    "e": "AQAB",
}
JWS = (
    b"eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl"
    b"fQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t"
    b"1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDw"
    b"usC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
)


def test_the_signature_of_the_rfc_s_example_holds_and_no_other_does():
    key, jws = rsa_key(KEY).key, parted(JWS)
    assert verifies(key, jws)
    assert strict_json(from_base64url(jws.payload))["iss"] == "joe"
    assert not verifies(key, parted(JWS.replace(b".eyJpc3Mi", b".eyJpc3MI")))


@given(st.integers(0, 255), st.integers(1, 255))
def test_a_signature_with_one_byte_changed_does_not_hold(at, by):
    header, payload, signature = JWS.split(b".")
    raw = bytearray(from_base64url(signature))
    raw[at] ^= by
    changed = base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=")
    assert not verifies(rsa_key(KEY).key, parted(b".".join((header, payload, changed))))


@pytest.mark.parametrize("signature", [b"", b"AA", b"A" * 344, b"A" * 2048], ids=len)
def test_nothing_or_too_much_is_no_signature(signature):
    assert not verifies(rsa_key(KEY).key, parted(b"e30.e30." + signature))


def test_a_token_of_es256_is_none_where_its_signature_is_longer_and_parted_takes_no_fourth_part():
    with pytest.raises(Malformed, match="64 bytes"):
        compact(JWS)
    for raw in (b"", b"a.b", JWS + b".AA"):
        with pytest.raises(Malformed):
            parted(raw)


def test_the_thumbprint_of_the_rfc_s_key_is_the_one_it_says():
    """RFC 7638, section 3.1."""
    key = {
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV"
        "4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZ"
        "Hzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8"
        "awapJzKnqDKgw",
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    }
    assert rsa_key(key).thumbprint == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def number(value):
    return base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).rstrip(b"=").decode()


SHORT = number(2**1023 + 1)  # 1,024 bits


@pytest.mark.parametrize(
    "spoiled",
    [
        *({"kty": "EC"}, {"kty": None}, {"use": "enc"}, {"alg": "RS512"}, {"alg": "ES256"}, {"n": 7}, {"e": None}),
        *({"n": SHORT}, {"n": number(2**8193)}, {"n": "AA" + KEY["n"]}, {"n": ""}, {"n": KEY["n"] + "="}),
        *({"e": "AAEAAQ"}, {"e": "AQ"}, {"e": "BA"}, {"e": number(2**32 + 1)}, {"e": ""}),
    ],
    ids=lambda spoiled: json.dumps(spoiled)[:20],  # the same in every process
)
def test_a_key_that_is_of_no_use_here_is_none(spoiled):
    assert rsa_key(KEY | spoiled) is None


@pytest.mark.parametrize("jwk", [None, 7, "RSA", [], {}, {"kty": "RSA"}], ids=repr)
def test_what_is_no_key_at_all_is_none(jwk):
    assert rsa_key(jwk) is None
