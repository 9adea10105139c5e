"""Pub/Sub's push at the edge: in comes whom Google has signed for, for us, and of the one account; nobody else."""

import hashlib
import hmac
import json
from base64 import b64encode, urlsafe_b64encode
from contextlib import asynccontextmanager

import httpx
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from bff.config import BadSetting, Pushed
from bff.events.push import LEEWAY, Shown, Why, judged
from bff.facts import UpstreamCalled
from bff.facts.events import EventTaken, PushRefused
from bff.upstreams.push_keys import push_keys
from bff.wire.rs256 import rsa_key, verifies
from chaos.hotel.world import MORNING, open_world
from chaos.toxics import Down
from nurseries import within
from tests.events.conftest import Side

PATH = "/internal/events"
ACCOUNT = "pusher@melmastoon.iam.example"
TOLD = Pushed("https://desks.melmastoon.example/internal/events", "http://keys.google/oauth2/v3/certs", ACCOUNT)
CLAIMS = {
    "iss": "https://accounts.google.com",
    "aud": TOLD.audience,
    "azp": "113774264463038321964",
    "sub": "113774264463038321964",
    "email": ACCOUNT,
    "email_verified": True,
    "iat": int(MORNING),
    "exp": int(MORNING) + 3600,
}


def b64url(raw):
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(value):
    return b64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class Signer:
    """A key for RS256, and what can be made with it."""

    def __init__(self, kid):
        self.kid = kid
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = self._key.public_key()
        numbers = public.public_numbers()
        self.jwk = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": kid, "n": number(numbers.n), "e": "AQAB"}
        self.pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def token(self, claims=None, header=None, **changed):
        """CLAIMS signed, `changed`, but for those that are None; the header likewise."""
        return self.signed(content(self.kid, {**(claims or CLAIMS), **changed}, header or {}))

    def signed(self, text):
        return f"{text}.{b64url(self._key.sign(text.encode(), PKCS1v15(), SHA256()))}"


def content(kid, claims, header):
    """What is signed."""
    head = {"alg": "RS256", "kid": kid, "typ": "JWT", **header}
    return ".".join(b64url(json.dumps(without(part)).encode()) for part in (head, claims))


def without(members):
    return {name: value for name, value in members.items() if value is not None}


OLD, NEW, STRANGER = Signer("google-1"), Signer("google-2"), Signer("google-1")


def mac(signer, header):
    """A token whose signature anybody can make: an HMAC by the key that everybody may read."""
    text = content(signer.kid, CLAIMS, header)
    return f"{text}.{b64url(hmac.new(signer.pem, text.encode(), hashlib.sha256).digest())}"


class Google:
    """Where its keys are: answers with those of `signers`, `slow` seconds later, or with `body`."""

    def __init__(self, network, nursery):
        self.signers, self.slow, self.body, self.calls = [OLD], 0.0, None, 0
        network.listen("keys.google", 80, self.serve, nursery)

    async def serve(self, stream):
        head = b""
        while piece := await stream.receive_some():
            head += piece
            if head.endswith(b"\r\n\r\n"):
                assert head.startswith(b"GET /oauth2/v3/certs HTTP/1.1\r\n")
                self.calls += 1
                head = b""
                await trio.sleep(self.slow)
                body = self.body or json.dumps({"keys": [signer.jwk for signer in self.signers]}).encode()
                await stream.send_all(b"HTTP/1.1 200 X\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


class Platform:
    """A server `edge` that takes pushes, in a world where `bff` takes none; Google, and who pushes."""

    def __init__(self, world, nursery):
        self.world, self.google = world, Google(world.network, nursery)
        self._client = world.client("pubsub.google")

    async def push(self, token, *, scheme="Bearer", message="m1", server="edge", method="POST", **told):
        """What is answered."""
        said = {"type": "alert", "tenantId": "resort", "data": {"n": 1}, **told}
        envelope = {"message": {"messageId": message, "data": b64encode(json.dumps(said).encode()).decode()}}
        headers = {} if token is None else {"authorization": f"{scheme} {token}"}
        with within(60):
            return await self._client.request(method, f"http://{server}{PATH}", json=envelope, headers=headers)

    @property
    def refused(self):
        return [fact.why for fact in self.world.facts if isinstance(fact, PushRefused)]

    @property
    def taken(self):
        return [fact.again for fact in self.world.facts if isinstance(fact, EventTaken)]


@asynccontextmanager
async def pushing():
    """A world in which Pub/Sub pushes."""
    async with open_world() as world, trio.open_nursery() as nursery:
        world.push = TOLD
        await world.serve("edge")
        await trio.sleep(1)  # its bus comes into step
        yield Platform(world, nursery)
        nursery.cancel_scope.cancel()


async def test_what_google_pushes_is_heard_at_desks_and_said_once_f31(autojump_clock, nursery):
    async with pushing() as platform:
        side = Side(platform.world, nursery)
        ear = await side.ear(await platform.world.desk(server="edge"))
        for _ in range(3):
            answer = await platform.push(OLD.token())
            assert (answer.status_code, answer.content) == (204, b"")
        assert (await platform.push(OLD.token(), message="m2", data={"n": 2})).status_code == 204
        await ear.until(lambda ear: 2 in ear.numbers)
        assert ear.numbers == [1, 2]
        assert platform.taken == [False, True, True, False]
        assert platform.google.calls == 1
        ear.leave()


@pytest.mark.parametrize("url", ["https://keys google/certs", "https:///certs"])
async def test_a_host_that_cannot_be_asked_is_one_line_before_anything_is_served(url):
    with pytest.raises(BadSetting, match="BFF_PUSH_KEYS_URL"):
        push_keys(None, url, None, None)


async def test_a_message_is_the_same_one_by_whichever_door_it_comes(autojump_clock, nursery):
    async with pushing() as platform:
        side = Side(platform.world, nursery)
        assert await side.push(server="edge", message="m7") == 204
        assert (await platform.push(OLD.token(), message="m7")).status_code == 204
        assert platform.taken == [False, True]


async def test_a_server_that_was_told_of_nobody_has_no_such_path(autojump_clock):
    async with pushing() as platform:
        answer = await platform.push(OLD.token(), server="bff")
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
        assert platform.google.calls == 0


async def test_each_door_has_its_own_bearer_and_takes_no_other(autojump_clock):
    async with pushing() as platform:
        assert (await platform.push(platform.world.internal_token)).status_code == 401
        ops = platform.world.servers["edge"].house.ops
        async with httpx.AsyncClient(transport=httpx.ASGITransport(ops), trust_env=False) as client:
            with within(5):
                bearer = {"authorization": f"Bearer {OLD.token()}"}
                answer = await client.post(f"http://ops{PATH}", json={}, headers=bearer)
        assert answer.status_code == 401
        assert platform.taken == []


BAD = [
    (None, Why.ABSENT),
    ("", Why.SCHEME),
    ("x" * 9000, Why.SIZE),
    ("internal", Why.MALFORMED),
    (OLD.token() + ".AA", Why.MALFORMED),
    (OLD.token(header={"typ": "dpop+jwt"}), Why.TYP),
    (OLD.token(header={"typ": "at+jwt"}), Why.TYP),
    (content(OLD.kid, CLAIMS, {"alg": "none"}) + ".", Why.ALG),
    (OLD.token(header={"alg": "none"}), Why.ALG),
    (OLD.token(header={"alg": None}), Why.ALG),
    (OLD.token(header={"alg": "rs256"}), Why.ALG),
    (mac(OLD, {"alg": "HS256"}), Why.ALG),
    (OLD.token(header={"crit": ["exp"]}), Why.EXTENSION),
    (OLD.token(header={"b64": True}), Why.EXTENSION),
    (OLD.token(iss=None), Why.CLAIMS),
    (OLD.token(aud=[TOLD.audience]), Why.CLAIMS),
    (OLD.token(exp=str(int(MORNING) + 3600)), Why.CLAIMS),
    (OLD.token(iss="https://accounts.google.com/"), Why.ISSUER),
    (OLD.token(iss="https://iam.melmastoon.example"), Why.ISSUER),
    (OLD.token(aud="https://other.example/internal/events"), Why.AUDIENCE),
    (OLD.token(aud=TOLD.audience + "/"), Why.AUDIENCE),
    (OLD.token(email="pusher@other.iam.example"), Why.ACCOUNT),
    (OLD.token(email=ACCOUNT.upper()), Why.ACCOUNT),
    (OLD.token(email_verified=False), Why.UNVERIFIED),
    (OLD.token(email_verified=None), Why.UNVERIFIED),
    (OLD.token(email_verified="true"), Why.UNVERIFIED),
    (OLD.token(exp=int(MORNING) - LEEWAY), Why.EXPIRED),
    (OLD.token(header={"kid": None}), Why.KEY),
    (OLD.token(header={"kid": 7}), Why.KEY),
]
UNSIGNED = [
    (OLD.token(header={"kid": "made up"}), Why.KEY),
    (STRANGER.token(), Why.SIGNATURE),  # under a kid of Google's
    (STRANGER.token(header={"jwk": STRANGER.jwk, "jku": "http://strangers/keys"}), Why.SIGNATURE),
    (mac(OLD, {}), Why.SIGNATURE),
    (content(OLD.kid, CLAIMS, {}) + ".", Why.SIGNATURE),
    (content(OLD.kid, {**CLAIMS, "sub": "somebody"}, {}) + "." + OLD.token().rpartition(".")[2], Why.SIGNATURE),
]


async def test_whoever_else_comes_is_refused_hears_no_more_than_that_and_has_nobody_asked(autojump_clock):
    async with pushing() as platform:
        details = set()
        for token, why in BAD:
            answer = await platform.push(token)
            problem = answer.json()
            assert (answer.status_code, problem["code"]) == (401, "SESSION_REQUIRED"), why
            assert "Bearer" in answer.headers.get_list("www-authenticate")
            assert platform.refused[-1] == why
            details.add(problem["detail"])
        assert len(details) == 1
        assert platform.google.calls == 0
        assert platform.taken == []


async def test_what_google_did_not_sign_is_refused_whatever_it_says(autojump_clock):
    async with pushing() as platform:
        for token, why in UNSIGNED:
            assert (await platform.push(token)).status_code == 401
            assert platform.refused[-1] == why
        assert platform.taken == []
        assert (await platform.push(OLD.token())).status_code == 204


async def test_a_token_of_another_scheme_or_beside_another_is_none(autojump_clock):
    async with pushing() as platform:
        assert (await platform.push(OLD.token(), scheme="DPoP")).status_code == 401
        assert (await platform.push(OLD.token(), scheme="bEARER")).status_code == 204
    twice = tuple(f"Bearer {OLD.token()}".encode() for _ in range(2))
    assert judged(twice, TOLD, MORNING) is Why.SEVERAL


async def test_both_names_of_google_will_do_and_a_token_ends_a_little_after_its_time(autojump_clock):
    async with pushing() as platform:
        token = OLD.token(iss="accounts.google.com", exp=int(MORNING) + 61)
        assert (await platform.push(token)).status_code == 204
        await trio.sleep(60 + LEEWAY - 1)
        assert (await platform.push(token)).status_code == 204
        await trio.sleep(1)
        assert (await platform.push(token)).status_code == 401
        assert platform.refused == [Why.EXPIRED]


async def test_there_is_nothing_to_get_there(autojump_clock):
    async with pushing() as platform:
        answer = await platform.push(OLD.token(), method="GET")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


Json = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9) | st.just([ACCOUNT])
NEEDED = ("iss", "aud", "email", "email_verified", "exp")


def as_good(name, value):
    """Whether a claim may be that."""
    if name == "exp":
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and MORNING - LEEWAY < value <= 2**53
    if name == "iss":
        return value in ["https://accounts.google.com", "accounts.google.com"]
    return value is True if name == "email_verified" else value == CLAIMS[name]


@given(name=st.sampled_from(NEEDED), value=Json, gone=st.booleans())
def test_a_claim_that_is_anything_else_is_no_good_though_google_signed_it(name, value, gone):
    changed = {key: it for key, it in CLAIMS.items() if key != name} | ({} if gone else {name: value})
    raw = OLD.signed(content(OLD.kid, {}, {}).split(".")[0] + "." + b64url(json.dumps(changed).encode()))
    shown = judged((f"Bearer {raw}".encode(),), TOLD, MORNING)
    assert isinstance(shown, Shown) is (not gone and as_good(name, value))


@given(at=st.integers(0), by=st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."))
def test_a_token_with_one_letter_changed_is_refused_by_its_claims_or_by_its_signature(at, by):
    token = OLD.token()
    at %= len(token)
    changed = token[:at] + by + token[at + 1 :]
    shown = judged((f"Bearer {changed}".encode(),), TOLD, MORNING)
    holds = isinstance(shown, Shown) and verifies(rsa_key(OLD.jwk).key, shown.jws)
    assert holds is (changed == token)


@given(st.lists(st.binary(max_size=60), max_size=3))
def test_whatever_stands_in_the_header_it_is_judged(values):
    assert isinstance(judged(tuple(values), TOLD, MORNING), Why)


async def test_a_key_that_google_has_just_begun_to_sign_with_is_found_at_once(autojump_clock):
    async with pushing() as platform:
        assert (await platform.push(OLD.token())).status_code == 204
        platform.google.signers = [OLD, NEW]
        assert (await platform.push(NEW.token(), message="m2")).status_code == 204
        assert platform.google.calls == 2


async def test_made_up_kids_have_google_asked_once_in_five_seconds(autojump_clock):
    async with pushing() as platform:
        assert (await platform.push(OLD.token())).status_code == 204
        for n in range(100):
            assert (await platform.push(OLD.token(header={"kid": f"made up {n}"}))).status_code == 401
            await trio.sleep(0.1)
        assert platform.google.calls <= 1 + 3
        assert set(platform.refused) == {Why.KEY}


async def test_old_keys_go_on_while_google_is_not_to_be_had_and_it_is_not_overrun(autojump_clock):
    async with pushing() as platform:
        network = platform.world.network
        assert (await platform.push(OLD.token())).status_code == 204
        with network.refuse("keys.google"):
            await trio.sleep(301)
            before = network.dialled[("keys.google", 80)]
            for n in range(120):
                assert (await platform.push(OLD.token(), message=f"n{n}")).status_code == 204
                await trio.sleep(1)
            assert network.dialled[("keys.google", 80)] - before <= 120 / 5 * 3
        platform.google.signers = [NEW]
        await trio.sleep(6)
        await platform.push(OLD.token())
        await trio.sleep(0.1)
        assert (await platform.push(OLD.token(), message="late")).status_code == 401, "a key that is withdrawn"


async def test_before_google_was_ever_heard_nobody_is_refused_for_it_and_it_is_not_overrun(autojump_clock):
    async with pushing() as platform:
        with platform.world.network.refuse("keys.google"):
            for _ in range(50):
                answer = await platform.push(OLD.token())
                assert (answer.status_code, answer.json()["code"]) == (502, "UPSTREAM_UNAVAILABLE")
            assert platform.world.network.dialled[("keys.google", 80)] <= 6, "its breaker is open"
        await trio.sleep(6)
        assert (await platform.push(OLD.token())).status_code == 204
        outcomes = {fact.outcome for fact in platform.world.facts if isinstance(fact, UpstreamCalled)}
        assert outcomes == {"UPSTREAM_UNAVAILABLE", "BREAKER_OPEN", "ok"}


@pytest.mark.parametrize("body", [b"<html>", b'{"keys":[]}', json.dumps({"keys": [{"kty": "EC"}]}).encode()])
async def test_what_is_no_set_of_keys_is_drift(autojump_clock, body):
    async with pushing() as platform:
        platform.google.body = body
        answer = await platform.push(OLD.token())
        assert (answer.status_code, answer.json()["code"]) == (502, "SCHEMA_DRIFT")


async def test_google_hanging_is_told_before_the_deadline_and_all_who_wait_wait_for_one_question(autojump_clock):
    async with pushing() as platform:
        platform.google.slow = 1e6
        answers = []

        async def one(n):
            answers.append(await platform.push(OLD.token(), message=f"m{n}"))

        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for n in range(10):
                nursery.start_soon(one, n)
        assert {answer.status_code for answer in answers} == {502}
        assert trio.current_time() - began <= 5.0
        assert platform.google.calls <= 3


async def test_with_the_tier_down_it_is_told_to_come_again_and_then_it_is_said_f18(autojump_clock):
    async with pushing() as platform:
        platform.world.inject("redis-session", Down())
        answer = await platform.push(OLD.token())
        assert (answer.status_code, answer.json()["code"]) == (503, "CACHE_UNAVAILABLE")
        assert int(answer.headers["retry-after"]) >= 1
        platform.world.heal()
        await trio.sleep(5)
        assert (await platform.push(OLD.token())).status_code == 204
        assert platform.taken == [False]
