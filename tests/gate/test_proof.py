"""RFC 9449 section 4.3, rule by rule: a corpus (proofs.txt) of proofs bent in one place and signed after that, and what
no corpus can hold: that nothing raises, and that no byte of a proof can be changed.
"""

import base64
import json
import random
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bff.gate.proof import LONGEST_KEPT, WHYS, BadProof, Proof, Why, judge_proof
from chaos.hotel.estate.signing import ALGORITHM, b64url
from chaos.hotel.fleet.proof import make_key, make_proof

NOW = 1_440_000_000
URL = "https://desk.example/v1/dashboard"
TOKEN = "header.payload.signature"
TOKEN_RAW = TOKEN.encode()
ATH = b64url(sha256(TOKEN.encode()).digest())
PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1  # P-256's field (SEC 2, 2.4.2)


def key_of(seed):
    return make_key(random.Random(seed).randbytes)


KEY = next(key for key in map(key_of, range(99)) if {"-", "_"} & set(key.jwk["x"]))
OTHER = key_of("other")
JKT = KEY.kid
HEADER = '{"typ":"dpop+jwt","alg":"ES256","jwk":{key}}'
CLAIMS = f'{{"jti":"j-1","htm":"GET","htu":"{URL}","iat":{NOW},"ath":"{{ath}}"}}'

X = KEY.jwk["x"]
RAW_X, RAW_Y = (base64.urlsafe_b64decode(KEY.jwk[name] + "=") for name in "xy")
# y of the point whose x is 0: its square is the curve's b (SEC 2, 2.4.2), and the prime is 3 modulo 4.
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
NAMES = {
    "{key}": '{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}',
    "{x}": X,
    "{y}": KEY.jwk["y"],
    "{other x}": OTHER.jwk["x"],
    "{other y}": OTHER.jwk["y"],
    "{x, one byte less}": b64url(RAW_X[1:]),
    "{x, a zero before it}": b64url(b"\0" + RAW_X),
    "{x and a byte of y}": b64url(RAW_X + RAW_Y[:1]),
    "{the rest of y}": b64url(RAW_Y[1:]),
    "{x in the other alphabet}": X.replace("-", "+").replace("_", "/"),
    "{x with a stray bit}": X[:-1] + chr(ord(X[-1]) + 1),
    "{zero}": b64url(bytes(32)),
    "{p}": b64url(PRIME.to_bytes(32, "big")),
    "{y of zero}": b64url(pow(B, (PRIME + 1) // 4, PRIME).to_bytes(32, "big")),
    "{ath}": ATH,
    "{token}": TOKEN,
    "{256}": "j" * 256,
    "{256 wide}": "é" * 256,
    "{400 digits}": "1" + "0" * 400,
    "{5000 digits}": "1" * 5000,
    "{1500 deep}": "[" * 1500 + "]" * 1500,
    "{bom}": "\ufeff",
    "{space}": " ",
}


def filled(text):
    for name, value in NAMES.items():
        text = text.replace(name, value)
    return text


def rows():
    for line in Path(__file__).with_name("proofs.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            what, why, where, stands, instead = (part.removesuffix(" ") for part in f"{line} ".split(" | "))
            yield pytest.param(why, where, stands, instead, id=what)


def bent(text, stands, instead):
    if stands == "{all}":
        return instead.replace("{all}", text)
    assert text.count(stands) == 1, "a row bends one place"
    return text.replace(stands, instead)


def judge(*proofs, method="GET", url=URL, now=NOW, token=TOKEN_RAW, jkt=JKT):
    headers = tuple(proof if isinstance(proof, bytes) else proof.encode() for proof in proofs)
    return judge_proof(headers, method=method, url=url, now=now, token=token, jkt=jkt)


def good(**more):
    return make_proof(KEY, "GET", URL, **{"token": TOKEN, "now": NOW, "jti": "j-1"} | more)


@pytest.mark.parametrize(("why", "where", "stands", "instead"), list(rows()))
def test_a_proof_bent_in_one_place_is_refused_by_the_rule_that_it_breaks(why, where, stands, instead):
    texts = {"header": HEADER.replace("{key}", NAMES["{key}"]), "claims": CLAIMS}
    stands, instead = (text.replace("{key}", NAMES["{key}"]) for text in (stands, instead))
    texts[where] = bent(texts[where], stands, instead)
    verdict = judge(KEY.signed(*(filled(texts[part]).encode() for part in ("header", "claims"))))
    if why == "ok":
        claims = json.loads(filled(texts["claims"]))
        assert verdict == Proof(JKT, claims["jti"], claims["iat"])
    else:
        assert verdict == BadProof(why)


def test_the_corpus_has_every_rule_that_can_be_broken_by_bending():
    broken = {row.values[0] for row in rows()}
    assert broken - {"ok"} == WHYS - {"absent", "several", "size", "key"}


def test_the_examples_of_the_rfc_hold():
    """RFC 9449, figures 2 and 12: not made by anything in this house."""
    header = (
        "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscE"
        "JoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19"
    )
    jkt = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
    asked = (
        f"{header}.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rv"
        "a2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37x"
        "RZT3Lg"
    )
    url = "https://server.example.com/token"
    assert judge(asked, method="POST", url=url, now=1562262616, token=None, jkt=None) == Proof(
        jkt, "-BwC3ESc6acc2lTc", 1562262616
    )
    shown = (
        f"{header}.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9w"
        "cm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbV"
        "FFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
    )
    token = b"Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
    url = "https://resource.example.org/protectedresource"
    assert judge(shown, url=url, now=1562262618, token=token, jkt=jkt) == Proof(jkt, "e1j3V_bKic8-LAEB", 1562262618)


def test_rule_1_there_is_exactly_one_proof():
    assert judge() == BadProof("absent")
    assert judge(good(), good(jti="j-2")) == BadProof("several")
    assert judge(good(), good()) == BadProof("several")
    assert judge(f"{good()}, {good()}") == BadProof("malformed")


HEAD, BODY, SIGNATURE = good().split(".")


@pytest.mark.parametrize(
    "proof",
    [
        "",
        ".",
        "..",
        HEAD,
        f"{HEAD}.{BODY}",
        f"{HEAD}.{BODY}.",
        f".{BODY}.{SIGNATURE}",
        f"{HEAD}..{SIGNATURE}",
        f"{HEAD}.{BODY}.{SIGNATURE}.",
        f"{HEAD}.{BODY}.{SIGNATURE}.{SIGNATURE}",
        f"{HEAD}.{BODY}.{SIGNATURE}==",
        f"{HEAD}=.{BODY}.{SIGNATURE}",
        f" {HEAD}.{BODY}.{SIGNATURE}",
        f"{HEAD}.{BODY}.{SIGNATURE}\n",
        f"{HEAD}.{BODY[:9]}\n{BODY[9:]}.{SIGNATURE}",
        f"{HEAD}.{BODY}.{SIGNATURE[:-2]}",
        f"{HEAD}.{BODY}.{SIGNATURE}AA",
        f"{HEAD}.{BODY}.{b64url(bytes(63))}",
        f"{HEAD}.{BODY}.{b64url(bytes(65))}",
        f"{HEAD}.{BODY}.{SIGNATURE[:-1]}{chr(ord(SIGNATURE[-1]) + 1)}",
        f"{HEAD}.{b64url(CLAIMS.encode() + bytes([0xFF]))}.{SIGNATURE}",
        f"{HEAD}.{b64url(CLAIMS.encode('utf-16'))}.{SIGNATURE}",
        '{"payload":"' + BODY + '","protected":"' + HEAD + '","signature":"' + SIGNATURE + '"}',
        f"DPoP {HEAD}.{BODY}.{SIGNATURE}",
        "é" * 100,
    ],
)
def test_rule_2_what_is_not_a_canonical_compact_jws_is_malformed(proof):
    assert judge(proof) == BadProof("malformed")


def test_a_proof_is_at_most_8_kib():
    room = 8192 - len(good(claims={"a": ""}))
    exact = good(claims={"a": "x" * (room * 3 // 4 + 1)})
    assert len(exact) == 8192
    assert isinstance(judge(exact), Proof)
    assert judge(exact + "x") == BadProof("size")


@pytest.mark.parametrize("r", [0, 1, 2**256 - 1])
@pytest.mark.parametrize("s", [0, 1, 2**256 - 1])
def test_no_signature_out_of_thin_air_holds(r, s):
    forged = b64url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    assert judge(f"{HEAD}.{BODY}.{forged}") == BadProof("signature")


def test_a_signature_in_der_is_none_of_64_bytes():
    der = KEY.key.sign(f"{HEAD}.{BODY}".encode(), ALGORITHM)
    assert judge(f"{HEAD}.{BODY}.{b64url(der)}") == BadProof("malformed")


def test_a_proof_for_one_thing_is_none_for_another():
    assert isinstance(judge(good()), Proof)
    assert judge(good(), method="DELETE") == BadProof("method")
    assert judge(good(), url="https://desk.example/v1/session") == BadProof("url")
    assert judge(good(), token=b"another") == BadProof("token")
    assert judge(good(), jkt=OTHER.kid) == BadProof("key")
    assert judge(good(), now=NOW + 61) == BadProof("old")
    assert judge(good(), now=NOW - 61) == BadProof("future")


def test_a_stolen_token_with_the_thief_s_own_key_is_rule_12b():
    theirs = make_proof(OTHER, "GET", URL, token=TOKEN, now=NOW, jti="j-1")
    assert judge(theirs) == BadProof("key")


def test_without_a_token_an_ath_is_neither_needed_nor_looked_at():
    assert isinstance(judge(good(token=None), token=None, jkt=None), Proof)
    assert isinstance(judge(good(), token=None, jkt=None), Proof)
    assert judge(good(token=None)) == BadProof("token")


def test_a_server_that_cannot_say_its_own_url_accepts_nothing():
    assert judge(good(claims={"htu": "desk"}), url="desk") == BadProof("url")


def test_a_long_header_is_read_every_time_and_judged_the_same():
    long = good(header={"a": "x" * LONGEST_KEPT})
    assert isinstance(judge(long), Proof)
    assert judge(good(header={"a": "x" * LONGEST_KEPT, "alg": "none"})) == BadProof("alg")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_byte_of_a_proof_can_be_changed(data):
    proof = bytearray(good().encode())
    place = data.draw(st.integers(0, len(proof) - 1))
    change = data.draw(st.integers(1, 255))
    proof[place] ^= change
    assert isinstance(judge(bytes(proof)), BadProof)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.lists(st.binary(max_size=60).map(b64url), max_size=4).map(".".join))
def test_whatever_bytes_come_the_answer_is_a_value(proof):
    verdict = judge(proof)
    assert isinstance(verdict, BadProof)
    assert verdict.why in WHYS


Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
Members = st.dictionaries(
    st.sampled_from(["typ", "alg", "jwk", "crit", "kid", "jti", "htm", "htu", "iat", "ath", "kty", "crv", "x", "y"]),
    Json,
    max_size=4,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(Members, Members, Members)
def test_whatever_json_is_signed_the_answer_is_a_value(header, jwk, claims):
    head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": {**KEY.jwk, **jwk}, **header}
    said = {"jti": "j-1", "htm": "GET", "htu": URL, "iat": NOW, "ath": ATH, **claims}
    verdict = judge(KEY.signed(json.dumps(head).encode(), json.dumps(said).encode()))
    assert isinstance(verdict, Proof) or verdict.why in WHYS


def test_every_rule_has_a_word_of_its_own():
    assert len(WHYS) == len(Why)
