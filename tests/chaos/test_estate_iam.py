from base64 import urlsafe_b64decode

import msgspec
import pytest
import trio
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.hotel.estate.hotel import build_hotel
from chaos.hotel.estate.service import Refusal
from chaos.hotel.estate.sessions import GRACE, SESSIONS_KEPT, TOKENS_KEPT, Sessions

MORNING = 1_439_618_400
WHO = {"tenant": "resort", "operator": "ines", "password": "ines-desk-2015", "deviceId": "desk-1", "jkt": "key-1"}


def raw(part):
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def read(token):
    head, claims, _ = token.split(".")
    return msgspec.json.decode(raw(head)), msgspec.json.decode(raw(claims))


def check(token, jwks):
    """Raises `InvalidSignature` unless the key that the token names has signed it (RFC 7515, section 5.2)."""
    head, _ = read(token)
    (jwk,) = [key for key in jwks["keys"] if key["kid"] == head["kid"]]
    point = (int.from_bytes(raw(jwk[axis]), "big") for axis in ("x", "y"))
    public = ec.EllipticCurvePublicNumbers(*point, ec.SECP256R1()).public_key()
    signed, _, signature = token.rpartition(".")
    halves = raw(signature)
    assert len(halves) == 64
    der = encode_dss_signature(*(int.from_bytes(half, "big") for half in (halves[:32], halves[32:])))
    public.verify(der, signed.encode(), ec.ECDSA(SHA256()))


async def sign_in(ask, **other):
    return await ask.by(tenant=None, operator=None, scope=None).post("iam", "/sessions", WHO | other)


async def refresh(ask, token, jkt="key-1"):
    return await ask.post("iam", "/sessions/refresh", {"refreshToken": token, "jkt": jkt})


async def step_up(ask, session, **other):
    asked = {
        "sessionId": session,
        "jkt": "key-1",
        "action": "folio.refund",
        "resource": "f-01118",
        "code": "201508",
    }
    return await ask.post("iam", "/attestations", asked | other)


async def test_signing_in_gives_a_session_a_pair_of_tokens_and_the_properties_in_scope(autojump_clock, ask):
    signed = await sign_in(ask)
    assert signed.status == 201
    assert signed.body | {"accessToken": "", "refreshToken": "", "sessionId": ""} == {
        "tenantId": "resort",
        "operatorId": "ines",
        "sessionId": "",
        "accessToken": "",
        "refreshToken": "",
        "expiresIn": 900,
        "properties": [
            {"id": "resort-praia", "name": "Resort da Praia"},
            {"id": "resort-serra", "name": "Resort da Serra"},
        ],
    }


async def test_an_access_token_says_who_where_and_with_which_key_and_is_signed_with_the_published_one(
    autojump_clock, ask
):
    await trio.sleep(0.25)
    body = (await sign_in(ask)).body
    jwks = (await ask.get("iam", "/jwks")).body
    check(body["accessToken"], jwks)
    head, claims = read(body["accessToken"])
    assert head == {"alg": "ES256", "kid": jwks["keys"][0]["kid"], "typ": "at+jwt"}
    assert len(claims.pop("jti")) == 32
    assert claims == {
        "iss": "https://iam.melmastoon.example",
        "aud": "bff-backoffice",
        "iat": MORNING,
        "nbf": MORNING,
        "exp": MORNING + 900,
        "sub": "ines",
        "tid": "resort",
        "did": "desk-1",
        "sid": body["sessionId"],
        "props": ["resort-praia", "resort-serra"],
        "cnf": {"jkt": "key-1"},
    }


async def test_only_public_members_of_the_key_are_published(autojump_clock, ask):
    (jwk,) = (await ask.get("iam", "/jwks")).body["keys"]
    assert set(jwk) == {"kty", "crv", "x", "y", "kid", "alg", "use"}


@pytest.mark.parametrize("wrong", [{"password": "x"}, {"operator": "carla"}, {"tenant": "city"}, {"tenant": "nobody"}])
async def test_whoever_is_not_known_by_this_password_is_not_told_what_was_wrong(autojump_clock, ask, wrong):
    refused = await sign_in(ask, **wrong)
    assert (refused.status, refused.code) == (401, "INVALID_CREDENTIALS")
    assert refused.raw == (await sign_in(ask, password="y")).raw


async def test_every_operator_can_sign_in_and_the_second_of_a_tenant_sees_one_property(autojump_clock, ask):
    for operator in build_hotel().operators:
        who = {"tenant": operator.tenant_id, "operator": operator.operator_id, "password": operator.password}
        signed = await sign_in(ask, **who)
        assert [house["id"] for house in signed.body["properties"]] == list(operator.properties)


async def test_a_refresh_token_gives_a_new_pair_of_the_same_session(autojump_clock, ask):
    first = (await sign_in(ask)).body
    await trio.sleep(600)
    second = await refresh(ask, first["refreshToken"])
    assert second.status == 200
    assert second.body["sessionId"] == first["sessionId"]
    assert second.body["refreshToken"] != first["refreshToken"]
    assert read(second.body["accessToken"])[1]["exp"] == MORNING + 600 + 900
    third = await refresh(ask, second.body["refreshToken"])
    assert third.status == 200


async def test_a_repeat_by_the_same_key_within_ten_seconds_gets_the_same_new_pair_and_is_no_second_effect(
    autojump_clock, ask
):
    first = (await sign_in(ask)).body
    second = (await refresh(ask, first["refreshToken"])).body
    await trio.sleep(10)
    again = await refresh(ask, first["refreshToken"])
    assert again.status == 200
    assert again.body == second | {"expiresIn": 890}
    assert ask.counts("iam", "refresh") == {"calls": 2, "distinctKeys": 0, "effects": 1}
    assert (await refresh(ask, second["refreshToken"])).status == 200  # a lost answer is no theft


async def test_a_used_refresh_token_ends_its_family_after_those_ten_seconds(autojump_clock, ask):
    first = (await sign_in(ask)).body
    second = (await refresh(ask, first["refreshToken"])).body
    await trio.sleep(10.001)
    assert (await refresh(ask, first["refreshToken"])).code == "REFRESH_REUSED"
    after = await refresh(ask, second["refreshToken"])
    assert (after.status, after.code) == (401, "SESSION_REVOKED")


async def test_a_used_refresh_token_with_another_key_ends_its_family_at_once(autojump_clock, ask):
    first = (await sign_in(ask)).body
    second = (await refresh(ask, first["refreshToken"])).body
    assert (await refresh(ask, first["refreshToken"], "key-2")).code == "REFRESH_REUSED"
    assert (await refresh(ask, second["refreshToken"])).code == "SESSION_REVOKED"


async def test_a_refresh_token_of_another_key_is_refused_and_still_good_for_its_owner(autojump_clock, ask):
    first = (await sign_in(ask)).body
    stolen = await refresh(ask, first["refreshToken"], "key-2")
    assert (stolen.status, stolen.code) == (401, "INVALID_TOKEN")
    assert (await refresh(ask, first["refreshToken"])).status == 200


async def test_a_refresh_token_nobody_was_given_is_refused(autojump_clock, ask):
    assert (await refresh(ask, "x" * 43)).code == "INVALID_TOKEN"


async def test_a_revoked_session_refreshes_no_more_and_another_of_the_operator_does(autojump_clock, ask):
    one, other = (await sign_in(ask)).body, (await sign_in(ask, deviceId="desk-2")).body
    revoked = await ask("iam", "DELETE", f"/sessions/{one['sessionId']}")
    assert (revoked.status, revoked.body) == (
        200,
        {"tenantId": "resort", "sessionId": one["sessionId"], "revoked": True},
    )
    assert (await ask("iam", "DELETE", f"/sessions/{one['sessionId']}")).status == 200
    assert ask.counts("iam", "revoke") == {"calls": 2, "distinctKeys": 0, "effects": 1}
    assert (await refresh(ask, one["refreshToken"])).code == "SESSION_REVOKED"
    assert (await refresh(ask, other["refreshToken"])).status == 200


async def test_a_session_of_another_tenant_s_cannot_be_ended(autojump_clock, ask):
    session = (await sign_in(ask)).body
    assert (await ask.by(tenant="city")("iam", "DELETE", f"/sessions/{session['sessionId']}")).code == "NOT_FOUND"
    assert (await refresh(ask, session["refreshToken"])).status == 200


async def test_a_right_code_gives_an_attestation_for_that_action_resource_session_and_key(autojump_clock, ask):
    session = (await sign_in(ask)).body["sessionId"]
    attested = await step_up(ask, session)
    assert attested.status == 201
    token = attested.body.pop("attestation")
    assert attested.body | {"attestation": ""} == {
        "tenantId": "resort",
        "attestation": "",
        "action": "folio.refund",
        "resource": "f-01118",
        "expiresAt": "2015-08-15T06:02:00.000Z",
    }
    check(token, (await ask.get("iam", "/jwks")).body)
    head, claims = read(token)
    assert head["typ"] != "at+jwt"  # RFC 8725, 3.11: neither can be taken for the other
    said = {name: claims[name] for name in ("sid", "tid", "sub", "act", "res", "cnf", "exp", "iat")}
    assert said == {
        "sid": session,
        "tid": "resort",
        "sub": "ines",
        "act": "folio.refund",
        "res": "f-01118",
        "cnf": {"jkt": "key-1"},
        "iat": MORNING,
        "exp": MORNING + 120,
    }
    second = await step_up(ask, session)
    assert read(second.body["attestation"])[1]["jti"] != claims["jti"]


@pytest.mark.parametrize(
    ("other", "status", "code"),
    [
        ({"code": "000000"}, 401, "INVALID_CODE"),
        ({"sessionId": "none"}, 401, "SESSION_REVOKED"),
        ({"jkt": "key-2"}, 401, "INVALID_TOKEN"),
        ({"action": "folio.charge"}, 422, "INVALID"),
        ({"resource": "f-99999"}, 404, "NOT_FOUND"),
        ({"resource": "f-11292"}, 404, "NOT_FOUND"),  # the other tenant's
        ({"action": "lock.revoke", "resource": "lock-praia-303"}, 404, "NOT_FOUND"),  # which key?
        ({"action": "lock.revoke", "resource": "lock-baixa-101/k-1"}, 404, "NOT_FOUND"),
    ],
)
async def test_no_attestation_for_a_wrong_code_another_s_session_or_what_is_out_of_scope(
    autojump_clock, ask, other, status, code
):
    session = (await sign_in(ask)).body["sessionId"]
    refused = await step_up(ask, session, **other)
    assert (refused.status, refused.code) == (status, code)
    assert ask.counts("iam", "attestStepUp")["effects"] == 0


async def test_a_resource_in_a_house_that_the_operator_does_not_see_is_not_found(autojump_clock, ask):
    session = (await sign_in(ask, operator="tiago", password="tiago-desk-2015")).body["sessionId"]
    tiago = ask.by(operator="tiago", scope="resort-praia")
    assert (await step_up(tiago, session, code="150815")).status == 201
    key = {"action": "lock.revoke", "resource": "lock-praia-303/k-1"}
    assert (await step_up(tiago, session, code="150815", **key)).status == 201
    assert (await step_up(tiago, session, code="150815", resource="f-01119")).code == "NOT_FOUND"


async def test_a_revoked_session_is_attested_no_more(autojump_clock, ask):
    session = (await sign_in(ask)).body["sessionId"]
    assert ask.authority.revoke(session)
    assert (await step_up(ask, session)).code == "SESSION_REVOKED"
    assert not ask.authority.revoke("none")


async def test_mint_signs_other_claims_and_another_header_and_a_null_takes_away(autojump_clock, ask):
    body = (await sign_in(ask)).body
    jwks = (await ask.get("iam", "/jwks")).body
    base = body["accessToken"]
    minted = ask.authority.mint(base, {"exp": 1, "props": None, "cnf": {"jkt": "other"}}, {"typ": None, "b64": True})
    check(minted, jwks)
    head, claims = read(minted)
    was_head, was = read(base)
    assert head == {"alg": "ES256", "kid": was_head["kid"], "b64": True}
    assert claims == {name: value for name, value in was.items() if name != "props"} | {
        "exp": 1,
        "cnf": {"jkt": "other"},
    }
    lying = ask.authority.mint(base, {}, {"alg": "none", "kid": "another"})
    assert read(lying)[0] == {"alg": "none", "kid": "another", "typ": "at+jwt"}


@pytest.mark.parametrize("base", ["", "a.b", "a.b.c", "é.é.é", "W10.W10.", "e30.e30"])
async def test_mint_refuses_what_is_no_token(autojump_clock, ask, base):
    with pytest.raises(ValueError):
        ask.authority.mint(base, {}, {})


async def test_another_key_s_signature_is_not_iam_s(autojump_clock, ask, make_estate):
    token = (await sign_in(ask)).body["accessToken"]
    head = read(token)[0]
    (foreign,) = (await make_estate(seed=2).get("iam", "/jwks")).body["keys"]
    with pytest.raises(InvalidSignature):
        check(token, {"keys": [foreign | {"kid": head["kid"]}]})


class Clock:
    def __init__(self):
        self.now = 0.0


def a_store(clock):
    made = iter(range(1_000_000))
    return Sessions(lambda: clock.now, lambda n: next(made).to_bytes(n, "big"), lambda session: (session.id, 0))


INES = build_hotel().operators[0]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from(["mine", "other"]), st.sampled_from([0, 4, 9, 30])), max_size=25
    )
)
def test_a_family_follows_its_rule_whatever_is_asked_in_whatever_order(steps):
    """The rule written a second time, as a model: what each use of each token must give."""
    clock = Clock()
    sessions = a_store(clock)
    tokens = [sessions.open(INES, "d", "mine").refresh_token]
    used, ended = {}, False
    for which, jkt, later in steps:
        clock.now += later
        token = tokens[which % len(tokens)]
        grant, fresh, code = outcome(sessions, token, jkt)
        in_time = token in used and clock.now - used[token][0] <= GRACE
        if ended:
            assert code == "SESSION_REVOKED"
        elif jkt == "mine" and token not in used:
            assert fresh
            used[token] = (clock.now, grant)
            tokens.append(grant.refresh_token)
        elif jkt == "mine" and in_time:
            assert not fresh
            assert grant is used[token][1]
        elif token in used:
            assert code == "REFRESH_REUSED"
            ended = True
        else:
            assert code == "INVALID_TOKEN"


def outcome(sessions, token, jkt):
    try:
        return *sessions.refresh(token, jkt), None
    except Refusal as refusal:
        return None, None, refusal.code


def test_the_memory_of_sessions_and_of_their_tokens_is_bounded():
    clock = Clock()
    sessions = a_store(clock)
    first = sessions.open(INES, "d", "k")
    token = first.refresh_token
    for _ in range(TOKENS_KEPT):
        token = sessions.refresh(token, "k")[0].refresh_token
    assert len(first.session.tokens) == TOKENS_KEPT
    with pytest.raises(Refusal, match="no such"):
        sessions.refresh(first.refresh_token, "k")
    for _ in range(SESSIONS_KEPT):
        sessions.open(INES, "d", "k")
    assert sessions.get(first.session.id) is None
    with pytest.raises(Refusal, match="no such"):
        sessions.refresh(token, "k")
