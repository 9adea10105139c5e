"""One reading of base64url, JSON, signatures and keys: what two readers could read in two ways is refused."""

import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.wire.jose import Malformed, compact, from_base64url, public_key, strict_json, to_base64url, verifies

# RFC 7515, appendix A.3: a key and a signature that nothing in this house has made.
KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
JWS = (
    b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl"
    b"fQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
)


def test_the_signature_of_the_rfc_s_example_holds_and_no_other_does():
    key = public_key(KEY).key
    jws = compact(JWS)
    assert verifies(key, jws)
    assert strict_json(from_base64url(jws.payload)) == {
        "iss": "joe",
        "exp": 1300819380,
        "http://example.com/is_root": True,
    }
    assert not verifies(key, compact(JWS.replace(b".eyJpc3Mi", b".eyJpc3MI")))


def test_the_thumbprint_of_the_rfc_s_key_is_the_one_it_says():
    """RFC 9449, section 4.1 and 6.1: its example's key, and what its token's `cnf` says."""
    key = {
        "kty": "EC",
        "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
        "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
        "crv": "P-256",
    }
    assert public_key(key).thumbprint == "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"


@given(st.binary(max_size=40))
def test_bytes_have_one_spelling(raw):
    text = base64.urlsafe_b64encode(raw).rstrip(b"=")
    assert to_base64url(raw).encode() == text
    assert from_base64url(text) == raw


@given(st.binary(max_size=12) | st.text("AQgw_-EI048Z=+/ \n", max_size=12).map(str.encode))
def test_a_text_is_the_spelling_of_its_bytes_or_nothing(text):
    try:
        raw = from_base64url(text)
    except Malformed:
        return
    assert to_base64url(raw).encode() == text


Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)


@given(st.dictionaries(st.text(max_size=5), Json, max_size=4), st.booleans())
def test_an_object_that_can_be_read_in_one_way_only_is_read_so(value, escaped):
    assert strict_json(json.dumps(value, ensure_ascii=escaped).encode()) == value


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b" ", b"[]", b"1", b'"a"', b"null", b"{", b"}", b"{}{}", b"{},", b"\xef\xbb\xbf{}", b"{'a':1}"),
        *(b'{"a":1,"a":1}', b'{"a":1,"\\u0061":2}', b'{"":1,"":1}', b'[{"a":1,"a":2}]', b'{"b":[[{"a":1,"a":2}]]}'),
        *(b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":[NaN]}', b'{"a":nan}', b'{"a":01}', b'{"a":.5}'),
        *(b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\\ud800"}', b'{"\\udc00":1}', b'{"a":"\\ud800\\ud800"}'),
        *(b'{"a":"\n"}', b'{"a":"\x00"}', b'{"a":"\\x41"}', b'{"a":1,}', b'{"a":1 /* b */}', b'\x00{}', b'{"a":tru}'),
        b'{"a":' + b"[" * 4000 + b"]" * 4000 + b"}",
        b'{"a":' * 1500 + b"1" + b"}" * 1500,
        b'{"a":' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_what_readers_differ_on_is_malformed(text):
    with pytest.raises(Malformed):
        strict_json(text)


@given(st.binary(max_size=40) | st.text('{}[]":,\\ud8a10eE.-+NI ', max_size=30).map(str.encode))
def test_whatever_bytes_come_they_are_an_object_or_malformed(raw):
    with suppress(Malformed):
        assert isinstance(strict_json(raw), dict)


@given(st.none() | Json | st.dictionaries(st.sampled_from(list(KEY)), Json).map(lambda bent: {**KEY, **bent}))
def test_whatever_json_comes_it_is_a_key_or_none(jwk):
    key = public_key(jwk)
    assert key is None or jwk == KEY
