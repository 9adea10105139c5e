"""Rung 1: tokens bent in one place (tokens.txt), keys that are not iam's, and what is remembered and for how long."""

import hmac
import json
import random
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import trio
import trio.testing
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from bff.gate.token import WHYS, BadToken, Token, TokenJudge
from bff.model import Claims
from bff.outside import Outside
from bff.upstreams.client import Missed, Upstreams
from bff.upstreams.jwks import Keys
from bff.wire import jose
from bff.wire.exchange import Origin
from bff.wire.pool import Pool
from chaos.hotel.estate.service import Operation, Reply, Service
from chaos.hotel.estate.serving import Door
from chaos.hotel.estate.signing import b64url, make_signer
from chaos.hotel.fleet.proof import make_key, make_proof
from chaos.sim.link import Network
from nurseries import BreakerRule, open_owner, within

NOW = 1_440_000_000
ISSUER = "https://iam.example"
KEY, OTHER, STRANGER = (make_signer(random.Random(f"token {n}").randbytes) for n in range(3))
DESK = make_key(random.Random("desk").randbytes)
HEADER = f'{{"alg":"ES256","kid":"{KEY.kid}","typ":"at+jwt"}}'
CLAIMS = (
    f'{{"iss":"{ISSUER}","aud":"bff-backoffice","exp":1440000900,"iat":1439999990,"nbf":1440000000,"sub":"ines",'
    f'"tid":"resort","did":"desk-1","sid":"s-1","props":["p1","p2"],"cnf":{{"jkt":"{DESK.kid}"}}}}'
)
NAMES = {
    "{issuer}": ISSUER,
    "{kid}": KEY.kid,
    "{other kid}": OTHER.kid,
    "{jkt}": DESK.kid,
    "{other jkt}": STRANGER.kid,
    "{400 digits}": "1" + "0" * 400,
    "{257}": "d" * 257,
}


def filled(text):
    for name, value in NAMES.items():
        text = text.replace(name, value)
    return text


def rows():
    for line in Path(__file__).with_name("tokens.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            what, why, where, stands, instead = (part.removesuffix(" ") for part in f"{line} ".split(" | "))
            yield pytest.param(why, where, filled(stands), filled(instead), id=what)


def bent(text, stands, instead):
    if stands == "{all}":
        return instead.replace("{all}", text)
    assert text.count(stands) == 1, "a row bends one place"
    return text.replace(stands, instead)


def token(key=KEY, header=HEADER, **claims):
    return key.signed(header.encode(), json.dumps({**json.loads(CLAIMS), **claims}).encode())


GOOD = token()


class World:
    def __init__(self, network, nursery, owner):
        self.network, self.keys_of_iam, self.skew = network, [KEY, OTHER], 0.0
        jwks = Operation("jwks", "GET", "/jwks", lambda _: Reply(200, {"keys": [k.jwk for k in self.keys_of_iam]}))
        self.iam = Door(Service("iam", [jwks], tenants=()), network.listen, nursery, host="iam", port=80)
        outside = Outside(self.now, random.Random("token").randbytes, network.connect)
        origins = {"iam": Origin("http", "iam", 80)}
        upstreams = Upstreams(Pool(network.connect), origins, outside, owner, BreakerRule())
        self.keys = Keys(upstreams, owner, entropy=outside.entropy)
        self.tokens = self.a_judge()

    def now(self):
        return NOW + self.skew + trio.current_time()

    def a_judge(self, **more):
        return TokenJudge(self.keys, issuer=ISSUER, now=self.now, **more)

    async def judge(self, *authorization, judge=None):
        with within(1):
            return await (judge or self.tokens).judge(tuple(value.encode() for value in authorization))

    async def shown(self, token, judge=None):
        """What the judge says of a token, told by its rule, or `ok`."""
        verdict = await self.judge(f"DPoP {token}", judge=judge)
        return "ok" if isinstance(verdict, Token) else verdict.why


@pytest.fixture
async def world(nursery):
    async with open_owner("tokens", bound=20) as owner:
        yield World(Network(), nursery, owner)


@pytest.fixture
def verified(monkeypatch):
    """How many signatures were checked."""
    count = []
    real = jose.verifies

    def counted(key, jws):
        count.append(jws)
        return real(key, jws)

    monkeypatch.setattr("bff.gate.token.verifies", counted)
    return count


@pytest.mark.parametrize(("why", "where", "stands", "instead"), list(rows()))
async def test_a_token_bent_in_one_place_is_refused_by_the_rule_that_it_breaks(
    autojump_clock, world, why, where, stands, instead
):
    texts = {"header": HEADER, "claims": CLAIMS}
    texts[where] = bent(texts[where], stands, instead)
    made = KEY.signed(texts["header"].encode(), texts["claims"].encode())
    assert await world.shown(made) == why
    assert await world.shown(made) == why  # and again, whatever is remembered


def test_the_corpus_has_every_rule_that_can_be_broken_by_bending():
    broken = {row.values[0] for row in rows()}
    assert broken - {"ok"} == WHYS - {"absent", "several", "scheme", "size"}


async def test_a_token_says_who_comes(autojump_clock, world):
    claims = Claims(
        issuer=ISSUER,
        audience="bff-backoffice",
        expires_at=1440000900.0,
        issued_at=1439999990.0,
        not_before=1440000000.0,
        operator="ines",
        tenant="resort",
        device="desk-1",
        session="s-1",
        properties=("p1", "p2"),
        jkt=DESK.kid,
    )
    assert await world.judge(f"DPoP {GOOD}") == Token(GOOD.encode(), claims)
    several = token(aud=["elsewhere", "bff-backoffice"], props=[])
    assert await world.judge(f"DPoP {several}") == Token(several.encode(), replace(claims, properties=()))


@pytest.mark.parametrize(
    ("authorization", "why"),
    [
        ((), "absent"),
        ((f"DPoP {GOOD}", f"DPoP {GOOD}"), "several"),
        ((f"DPoP {GOOD}", "Bearer x"), "several"),
        (("",), "scheme"),
        (("DPoP",), "scheme"),
        (("DPoP ",), "scheme"),
        ((GOOD,), "scheme"),
        ((f"Bearer {GOOD}",), "scheme"),
        ((f"DPoP\t{GOOD}",), "scheme"),
        ((f"DPoP {GOOD} {GOOD}",), "malformed"),
        ((f"DPoP {GOOD}, DPoP {GOOD}",), "malformed"),
        ((f'DPoP token="{GOOD}"',), "malformed"),
        ((f"DPoP {GOOD}=",), "malformed"),
        (("DPoP null",), "malformed"),
        ((f"DPoP {GOOD.rpartition('.')[0]}.",), "malformed"),
        (("DPoP " + "x" * 8193,), "size"),
    ],
)
async def test_there_is_exactly_one_token_under_its_scheme(autojump_clock, world, authorization, why):
    assert await world.judge(*authorization) == BadToken(why)


@pytest.mark.parametrize("scheme", ["DPoP", "dpop", "DPOP", "dPoP"])
@pytest.mark.parametrize("space", [" ", "   "])
async def test_the_scheme_counts_in_any_case(autojump_clock, world, scheme, space):
    assert isinstance(await world.judge(f"{scheme}{space}{GOOD}"), Token)


async def test_a_token_of_8_kib_passes(autojump_clock, world):
    room = 8192 - len(token(a=""))
    exact = token(a="x" * (room * 3 // 4))
    assert 8189 <= len(exact) <= 8192
    assert await world.shown(exact) == "ok"


async def test_whoever_signs_for_himself_is_nobody(autojump_clock, world):
    theirs = json.dumps({"alg": "ES256", "kid": STRANGER.kid, "jwk": dict(STRANGER.jwk)})
    assert await world.shown(token(STRANGER, theirs)) == "key"
    assert await world.shown(token(STRANGER)) == "signature"  # under iam's own kid
    nameless = json.dumps({"alg": "ES256", "jwk": dict(STRANGER.jwk)})
    assert await world.shown(token(STRANGER, nameless)) == "signature"


async def test_a_mac_under_iam_s_public_key_is_no_signature(autojump_clock, world):
    """RFC 8725, 2.1: the algorithm is not the sender's to choose."""
    pem = KEY.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signing = f"{b64url(json.dumps({'alg': 'HS256', 'kid': KEY.kid}).encode())}.{GOOD.split('.')[1]}"
    short = hmac.digest(pem, signing.encode(), sha256)
    assert await world.shown(f"{signing}.{b64url(short)}") == "malformed"
    assert await world.shown(f"{signing}.{b64url(short + short)}") == "alg"


async def test_the_payload_of_one_token_under_the_signature_of_another_is_nothing(autojump_clock, world):
    header, _, signature = GOOD.split(".")
    payload = token(tid="city").split(".")[1]
    assert await world.shown(GOOD) == "ok"
    assert await world.shown(f"{header}.{payload}.{signature}") == "signature"


async def test_a_proof_is_no_token(autojump_clock, world):
    proof = make_proof(DESK, "GET", "https://desk.example/", token=None, now=NOW, jti="j")
    assert await world.shown(proof) == "typ"


async def test_iam_down_before_its_keys_were_ever_read_refuses_nobody(autojump_clock, world):
    """CONTRACT section 2: 502, never 401; what is no token at all needs no keys to be refused."""
    with world.network.refuse("iam"):
        assert isinstance(await world.judge(f"DPoP {GOOD}"), Missed)
        assert await world.judge("DPoP x") == BadToken("malformed")
        assert await world.judge() == BadToken("absent")
    await trio.sleep(5)
    assert await world.shown(GOOD) == "ok"


async def test_a_token_is_verified_once(autojump_clock, world, verified):
    for _ in range(3):
        assert await world.shown(GOOD) == "ok"
    assert len(verified) == 1


async def test_what_does_not_hold_is_not_remembered(autojump_clock, world, verified):
    foreign = token(iss="https://elsewhere.example")
    for _ in range(3):
        assert await world.shown(foreign) == "issuer"
    assert len(verified) == 3


async def test_at_most_so_many_are_remembered_and_the_one_used_longest_ago_goes(autojump_clock, world, verified):
    judge = world.a_judge(bound=2)
    first, second, third = (token(sid=f"s-{n}") for n in range(3))
    for made in (first, second, first, third, first):
        assert await world.shown(made, judge) == "ok"
    assert len(verified) == 3
    assert await world.shown(second, judge) == "ok"
    assert len(verified) == 4


async def test_a_token_that_has_ended_takes_nobody_s_place(autojump_clock, world, verified):
    judge = world.a_judge(bound=1)
    for made in (GOOD, token(exp=NOW - 1), GOOD):
        assert await world.shown(made, judge) == "ok"
    assert len(verified) == 2


async def test_nothing_is_remembered_beyond_its_end(autojump_clock, world, verified):
    await world.shown(GOOD)
    await trio.sleep(899)
    await world.shown(GOOD)
    assert len(verified) == 1
    await trio.sleep(1)
    for checked in (2, 3):
        assert await world.shown(GOOD) == "ok"  # that it has ended is another rung's to say
        assert len(verified) == checked


async def test_a_clock_set_back_makes_a_remembered_token_too_early_again(autojump_clock, world, verified):
    assert await world.shown(GOOD) == "ok"
    world.skew = -10.0
    assert await world.shown(GOOD) == "early"
    world.skew = 0.0
    assert await world.shown(GOOD) == "ok"
    assert len(verified) == 1


async def test_a_token_too_early_is_taken_when_its_time_has_come(autojump_clock, world):
    soon = token(nbf=NOW + 30)
    assert await world.shown(soon) == "early"
    await trio.sleep(30)
    assert await world.shown(soon) == "ok"


async def test_a_key_that_iam_withdraws_takes_what_it_verified_with_it(autojump_clock, world):
    """Or a token of a stolen key would count until an end that its thief has written."""
    forever = token(exp=NOW + 10**9)
    others = token(OTHER, HEADER.replace(KEY.kid, OTHER.kid))
    assert [await world.shown(made) for made in (forever, others)] == ["ok", "ok"]
    world.keys_of_iam = [OTHER]
    world.iam.service.changed()
    await trio.sleep(300)
    assert await world.shown(forever) == "ok"  # iam is asked now, and nobody waits
    await trio.testing.wait_all_tasks_blocked()
    assert [await world.shown(made) for made in (forever, others)] == ["key", "ok"]


async def test_many_desks_at_once_are_each_themselves(autojump_clock, world):
    said = {}

    async def come(n):
        said[n] = await world.judge(f"DPoP {token(sid=f's-{n}')}")

    async with trio.open_nursery() as nursery:
        for n in range(50):
            nursery.start_soon(come, n)
    assert [said[n].claims.session for n in range(50)] == [f"s-{n}" for n in range(50)]
    assert world.iam.service.counts["jwks"].calls == 1


async def test_no_byte_of_a_token_can_be_changed(autojump_clock, world):
    drawn = random.Random("bytes")
    assert await world.shown(GOOD) == "ok"
    for place in range(len(GOOD)):
        changed = bytearray(GOOD.encode())
        changed[place] ^= drawn.randrange(1, 256)
        with within(1):
            verdict = await world.tokens.judge((b"DPoP " + changed,))
        assert isinstance(verdict, BadToken), place
        await trio.sleep(0.1)


Garbage = st.binary(max_size=80) | st.lists(st.binary(max_size=60).map(b64url), max_size=4).map(
    lambda parts: ".".join(parts).encode()
)


@settings(max_examples=20, deadline=None)
@given(st.lists(Garbage | Garbage.map(b"DPoP ".__add__), max_size=30))
def test_whatever_comes_the_answer_is_a_value(simulate, values):
    async def main():
        async with open_owner("tokens", bound=20) as owner, trio.open_nursery() as nursery:
            world = World(Network(), nursery, owner)
            for value in values:
                with within(1):
                    verdict = await world.tokens.judge((value,))
                assert verdict.why in WHYS
            nursery.cancel_scope.cancel()

    simulate(main)
