"""Signing in, renewing, signing out, through the real app: what a desk gets, and what a stranger learns."""

from dataclasses import replace

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from bff.facts import SchemaDrifted
from bff.gate.bodies import RefreshBody, SessionBody, SignInBody
from chaos.hotel.fleet.proof import make_key
from chaos.toxics import split
from nurseries import within

IN, REFRESH = "/v1/session", "/v1/session/refresh"
PASSWORD = "ines-desk-2015"
IAM_FAULTS = ["down", "hang", "status code=503", "drip bytes-per-second=1", "reset after=10", "giant bytes=2000000"]
DRIFTS = [
    "garbage",
    "drift field=accessToken",
    "drift field=expiresIn",
    "wrong-tenant",
    "drift field=tenantId missing=true",
]
SHAPE = {
    *("tokenType", "accessToken", "refreshToken", "expiresIn"),
    *("sessionId", "tenantId", "operatorId", "properties"),
}


def credentials(desk, **said):
    return {"tenant": desk.tenant, "operator": desk.operator, "password": PASSWORD, "deviceId": desk.device, **said}


async def sign_in(world, desk, headers=None, **said):
    return await world.ask("POST", IN, {**desk.head("POST", IN), **(headers or {})}, credentials(desk, **said))


async def refresh(world, desk, token, **proof):
    return await world.ask("POST", REFRESH, desk.head("POST", REFRESH, **proof), {"refreshToken": token})


async def signed_in(world, desk):
    said = await sign_in(world, desk)
    assert said.status == 201
    return said.json()


async def with_token(world, desk, token, method="GET", path=IN, **headers):
    return await world.ask(method, path, {**desk.head(method, path, token), **headers})


async def blob(world, session, tenant="resort"):
    return world.tier._blobs.get((tenant, session))


async def let_everything_happen(seconds=0.0):
    await trio.sleep(seconds)
    await trio.testing.wait_all_tasks_blocked()


# -- signing in --------------------------------------------------------------------------------------------------------


async def test_who_signs_in_gets_a_session_of_the_contract_s_shape_that_works(autojump_clock, world):
    desk = world.desk()
    said = await sign_in(world, desk)
    body = said.json()
    assert said.status == 201
    assert set(body) == SHAPE
    assert (body["tokenType"], body["tenantId"], body["operatorId"]) == ("DPoP", "resort", "ines")
    assert (body["expiresIn"], body["properties"][0]) == (900, {"id": "resort-praia", "name": "Resort da Praia"})
    assert (await with_token(world, desk, body["accessToken"])).status == 200


async def test_the_session_in_hand_is_what_its_token_says(autojump_clock, world):
    desk = world.desk()
    session = await signed_in(world, desk)
    said = await with_token(world, desk, session["accessToken"])
    assert said.json() == {
        "sessionId": session["sessionId"],
        "tenantId": "resort",
        "operatorId": "ines",
        "deviceId": "desk-1",
        "properties": [{"id": "resort-praia"}, {"id": "resort-serra"}],
        "expiresAt": "2015-08-15T08:15:00.000Z",
    }


async def test_a_token_that_never_ends_has_the_last_day_there_is(autojump_clock, world):
    desk = world.desk()
    said = await with_token(world, desk, desk.token(exp=2**53))
    assert said.json()["expiresAt"].startswith("9999-12-31T23:59:59")


async def test_what_is_kept_of_a_session_is_there_for_its_first_request(autojump_clock, world):
    desk = world.desk()
    session = await signed_in(world, desk)
    kept = await blob(world, session["sessionId"])
    assert (kept.operator, kept.device, kept.jkt, kept.cursor) == ("ines", "desk-1", desk.key.kid, None)
    assert kept.expires_at == pytest.approx(world.now() + 900)
    request = world.head("GET", "/v1/dashboard", desk.head("GET", "/v1/dashboard", session["accessToken"]))
    assert (await world.climb(request)).blob == kept


@pytest.mark.parametrize(
    "wrong", [{"password": "no"}, {"operator": "nobody"}, {"tenant": "nowhere"}, {"tenant": "city"}]
)
async def test_a_stranger_hears_the_same_whatever_was_wrong(autojump_clock, world, wrong):
    said = await sign_in(world, world.desk(), **wrong)
    assert (said.status, said.code) == (401, "SESSION_REQUIRED")
    assert said.json()["detail"] == "tenant, operator or password is wrong"
    assert said.header("www-authenticate").startswith("DPoP ")


async def test_a_stranger_does_not_learn_that_a_tenant_is_suspended_and_its_operators_do(autojump_clock, world):
    await world.tenant_stands("suspended")
    asked = world.tenant.service.counts["status"].calls
    assert (await sign_in(world, world.desk(), password="no")).code == "SESSION_REQUIRED"
    assert world.tenant.service.counts["status"].calls == asked
    said = await sign_in(world, world.desk())
    assert (said.status, said.code) == (503, "TENANT.SUSPENDED")


async def test_signing_in_asks_how_the_tenant_stands_and_tells_the_others(autojump_clock, world):
    world.tenants_themselves.stand("resort", "suspended")
    assert (await sign_in(world, world.desk())).code == "TENANT.SUSPENDED"
    await let_everything_happen()
    assert world.tier._status == {"resort": "suspended"}


@pytest.mark.parametrize("toxic", ["down", "hang", "status code=500", "wrong-tenant", "drift field=status"])
async def test_with_tenant_service_gone_the_last_known_state_counts_and_none_is_active(autojump_clock, world, toxic):
    world.tenant.inject(split(toxic))
    began = trio.current_time()
    said = await sign_in(world, world.desk())
    assert said.status == 201
    assert said.at - began <= 3.0
    with within(1):
        await world.tier.set_tenant_status("resort", "suspended")
    assert (await sign_in(world, world.desk())).code == "TENANT.SUSPENDED"


@pytest.mark.parametrize("trouble", ["down", "stop"])
async def test_with_the_tier_gone_signing_in_goes_on_f18(autojump_clock, world, trouble):
    getattr(world.tier, trouble)()
    desk, began = world.desk(), trio.current_time()
    session = await signed_in(world, desk)
    assert trio.current_time() - began <= 0.2
    assert (await with_token(world, desk, session["accessToken"])).status == 200
    assert (await refresh(world, desk, session["refreshToken"])).status == 200


@pytest.mark.parametrize("toxic", IAM_FAULTS)
async def test_iam_gone_is_502_in_time_and_says_when_to_come_again_f1(autojump_clock, world, toxic):
    desk = world.desk()
    session = await signed_in(world, desk)
    world.iam.inject(split(toxic))
    for ask in (sign_in(world, desk), refresh(world, desk, session["refreshToken"])):
        began = trio.current_time()
        said = await ask
        assert (said.status, said.code, said.json()["upstream"]) == (502, "UPSTREAM_UNAVAILABLE", "iam")
        assert said.json()["retryAfterMs"] > 0
        assert said.header("retry-after")
        assert said.at - began <= 3.0
    assert (await with_token(world, desk, session["accessToken"])).status == 200


async def test_iam_is_waited_for_as_long_as_leaves_time_for_what_follows(autojump_clock, world):
    world.iam.inject(split("latency ms=2300"))
    world.tenant.inject(split("hang"))
    await world.ask("GET", IN, world.desk().head("GET", IN, world.desk().token()))  # iam's keys are read
    began = trio.current_time()
    said = await sign_in(world, world.desk())
    assert said.status == 201
    assert 2.3 < said.at - began < 2.9
    world.iam.inject(split("latency ms=2500"))
    began = trio.current_time()
    assert (await sign_in(world, world.desk())).code == "UPSTREAM_UNAVAILABLE"
    assert trio.current_time() - began == pytest.approx(0.8 * 2.99)


@pytest.mark.parametrize("milliseconds", [50, 60, 200])
async def test_a_shorter_deadline_is_kept_with_iam_hanging(autojump_clock, world, milliseconds):
    await signed_in(world, world.desk())
    world.iam.inject(split("hang"))
    began = trio.current_time()
    said = await sign_in(world, world.desk(), {"x-deadline-ms": str(milliseconds)})
    assert said.code == "UPSTREAM_UNAVAILABLE"
    assert said.at - began <= milliseconds / 1000


@pytest.mark.parametrize("toxic", DRIFTS)
async def test_an_answer_of_iam_s_that_is_not_what_it_should_be_is_drift_f15_f30(autojump_clock, world, toxic):
    desk = world.desk()
    session = await signed_in(world, desk)
    world.iam.inject(split(toxic))
    for ask in (sign_in(world, desk), refresh(world, desk, session["refreshToken"])):
        said = await ask
        assert (said.status, said.code) == (502, "SCHEMA_DRIFT")
        assert b"eyJ" not in said.body
    assert world.told(SchemaDrifted)


@pytest.mark.parametrize(
    "lie", [{"tid": "city"}, {"sid": "another"}, {"cnf": {"jkt": "x"}}, {"did": "desk-2"}, {"aud": "x"}]
)
async def test_a_token_that_says_otherwise_than_its_answer_is_handed_to_nobody_f30(autojump_clock, world, lie):
    itself = world.iam_itself
    shown = itself._shown
    itself._shown = lambda grant: {**shown(grant), "accessToken": itself.mint(grant.access_token, lie, {})}
    said = await sign_in(world, world.desk())
    assert (said.status, said.code) == (502, "SCHEMA_DRIFT")
    assert [fact.path for fact in world.told(SchemaDrifted)] == ["$.accessToken"]


async def test_a_session_is_handed_out_though_iam_s_keys_cannot_be_read_yet(autojump_clock, world):
    jwks = next(operation for operation in world.iam.service.operations if operation.name == "jwks")
    object.__setattr__(jwks, "path", "/elsewhere")
    object.__setattr__(jwks, "segments", ["", "elsewhere"])
    desk, began = world.desk(), trio.current_time()
    session = await signed_in(world, desk)
    assert trio.current_time() - began <= 3.0
    assert (await blob(world, session["sessionId"])).device == "desk-1"


async def test_a_suspension_that_only_an_event_has_told_holds_for_signing_in_too(autojump_clock, world):
    assert (await sign_in(world, world.desk())).status == 201
    with within(1):
        await world.tier.set_tenant_status("resort", "suspended")
    assert (await sign_in(world, world.desk())).code == "TENANT.SUSPENDED"
    with within(1):
        await world.tier.set_tenant_status("resort", "active")
    assert (await sign_in(world, world.desk())).status == 201


# -- wrong passwords ---------------------------------------------------------------------------------------------------


async def test_after_five_wrong_passwords_in_a_minute_the_sixth_is_not_asked_about(autojump_clock, world):
    desk = world.desk()
    said = [await sign_in(world, desk, password="no") for _ in range(6)]
    assert [one.code for one in said] == ["SESSION_REQUIRED"] * 5 + ["RATE_LIMITED"]
    assert (said[-1].status, said[-1].json()["retryAfterMs"]) == (429, 12_000)
    assert world.iam.service.counts["signIn"].calls == 5
    assert (await sign_in(world, desk)).code == "RATE_LIMITED"
    assert (await sign_in(world, world.desk(operator="tiago"), password="tiago-desk-2015")).status == 201
    await trio.sleep(12)
    assert (await sign_in(world, desk)).status == 201


async def test_guesses_sent_at_once_are_worth_no_more_than_one_after_the_other(autojump_clock, world):
    world.iam.inject(split("latency ms=100"))
    said = []

    async def guess(password):
        said.append((await sign_in(world, world.desk(), password=password)).code)

    async with trio.open_nursery() as nursery:
        for number in range(30):
            nursery.start_soon(guess, f"guess-{number}")
    assert sorted(said) == ["RATE_LIMITED"] * 25 + ["SESSION_REQUIRED"] * 5


async def test_the_right_one_among_guesses_sent_at_once_is_not_told_either(autojump_clock, world):
    world.iam.inject(split("latency ms=100"))
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(lambda: sign_in(world, world.desk(), password="no"))
        await trio.sleep(0.01)
        assert (await sign_in(world, world.desk())).code == "RATE_LIMITED"


async def test_however_often_the_right_password_comes_it_is_let_in(autojump_clock, world):
    desks = [world.desk(device=f"desk-{number}") for number in range(40)]
    said = []

    async def come(desk):
        said.append((await sign_in(world, desk)).status)

    async with trio.open_nursery() as nursery:
        for desk in desks:
            nursery.start_soon(come, desk)
    assert said == [201] * 40


async def test_passwords_are_not_counted_where_the_rate_is_off(autojump_clock, open_world):
    async with open_world(rate_passwords="0") as world:
        said = [await sign_in(world, world.desk(), password="no") for _ in range(10)]
        assert {one.code for one in said} == {"SESSION_REQUIRED"}


# -- renewing ----------------------------------------------------------------------------------------------------------


async def test_who_renews_gets_a_new_pair_for_the_same_session_and_needs_no_token(autojump_clock, world):
    desk = world.desk()
    first = await signed_in(world, desk)
    await trio.sleep(1_000)  # the access token has ended
    said = await refresh(world, desk, first["refreshToken"])
    second = said.json()
    assert (said.status, second["sessionId"]) == (200, first["sessionId"])
    assert second["refreshToken"] != first["refreshToken"]
    assert (await with_token(world, desk, second["accessToken"])).status == 200


async def test_a_lost_answer_is_no_theft_but_a_used_token_later_is(autojump_clock, world):
    desk = world.desk()
    first = await signed_in(world, desk)
    second = (await refresh(world, desk, first["refreshToken"])).json()
    assert (await refresh(world, desk, first["refreshToken"])).json() == second
    await trio.sleep(11)
    said = await refresh(world, desk, first["refreshToken"])
    assert (said.status, said.code) == (401, "SESSION_EXPIRED")
    assert (await refresh(world, desk, second["refreshToken"])).code == "SESSION_EXPIRED"


async def test_another_key_renews_nothing(autojump_clock, world):
    desk = world.desk()
    session = await signed_in(world, desk)
    said = await refresh(world, desk, session["refreshToken"], key=make_key(world.entropy))
    assert (said.status, said.code) == (401, "SESSION_EXPIRED")


async def test_a_session_that_iam_revoked_is_over_at_its_next_renewal_f31(autojump_clock, world):
    desk = world.desk()
    session = await signed_in(world, desk)
    world.iam_itself.revoke(session["sessionId"])
    said = await refresh(world, desk, session["refreshToken"])
    assert (said.status, said.code) == (401, "SESSION_EXPIRED")


async def test_renewing_does_not_ask_how_the_tenant_stands_or_the_desk_would_lose_its_refresh_token(
    autojump_clock, world
):
    desk = world.desk()
    session = await signed_in(world, desk)
    await world.tenant_stands("suspended")
    said = await refresh(world, desk, session["refreshToken"])
    assert said.status == 200
    assert (await with_token(world, desk, said.json()["accessToken"])).code == "TENANT.SUSPENDED"


async def test_renewing_keeps_what_was_kept_of_the_device_s_cursor(autojump_clock, world):
    desk = world.desk()
    session = await signed_in(world, desk)
    kept = await blob(world, session["sessionId"])
    with within(1):
        await world.tier.keep(replace(kept, cursor="c-7"), 900)
    await trio.sleep(60)
    await refresh(world, desk, session["refreshToken"])
    renewed = await blob(world, session["sessionId"])
    assert (renewed.cursor, renewed.device, renewed.expires_at) == ("c-7", "desk-1", world.now() + 900)


# -- signing out -------------------------------------------------------------------------------------------------------


async def sign_out(world, desk, token):
    return await with_token(world, desk, token, "DELETE")


async def test_who_signs_out_is_out_everywhere_and_cannot_renew(autojump_clock, world):
    desk = world.desk()
    session = await signed_in(world, desk)
    said = await sign_out(world, desk, session["accessToken"])
    assert (said.status, said.body, said.header("content-length")) == (204, b"", None)
    assert (await with_token(world, desk, session["accessToken"])).code == "SESSION_EXPIRED"
    assert (await refresh(world, desk, session["refreshToken"])).code == "SESSION_EXPIRED"
    assert world.tier._revoked.get(("resort", session["sessionId"]))
    assert await blob(world, session["sessionId"]) is None
    assert (await sign_in(world, desk)).status == 201


@pytest.mark.parametrize("toxic", ["down", "hang", "status code=500"])
async def test_with_iam_gone_the_tier_alone_ends_a_session_and_iam_is_told_later_f31(autojump_clock, world, toxic):
    desk = world.desk()
    session = await signed_in(world, desk)
    world.iam.inject(split(toxic))
    began = trio.current_time()
    said = await sign_out(world, desk, session["accessToken"])
    assert said.status == 204
    assert said.at - began <= 5.0
    assert (await with_token(world, desk, session["accessToken"])).code == "SESSION_EXPIRED"
    world.iam.clear()
    world.house.upstreams.breakers.clear()
    assert (await refresh(world, desk, session["refreshToken"])).code == "SESSION_EXPIRED"
    await let_everything_happen(30)
    assert world.iam_itself._sessions.get(session["sessionId"]).revoked
    assert world.owner.live == ()


async def test_what_ended_here_is_not_renewed_though_neither_the_tier_nor_iam_can_tell_f31(autojump_clock, world):
    desk = world.desk()
    session = await signed_in(world, desk)
    world.iam.inject(split("down"))
    assert (await sign_out(world, desk, session["accessToken"])).status == 204
    world.iam.clear()
    world.tier.down()
    assert (await refresh(world, desk, session["refreshToken"])).code == "SESSION_EXPIRED"


async def test_a_session_that_the_tier_knows_to_be_over_is_not_renewed_though_iam_would_f31(autojump_clock, world):
    desk = world.desk()
    session = await signed_in(world, desk)
    with within(1):
        await world.tier.revoke("resort", session["sessionId"], 60)
    assert (await refresh(world, desk, session["refreshToken"])).code == "SESSION_EXPIRED"
    await let_everything_happen(5)
    assert world.iam_itself._sessions.get(session["sessionId"]).revoked


@pytest.mark.parametrize("trouble", ["down", "stop"])
async def test_with_the_tier_gone_iam_alone_ends_a_session_and_the_tier_is_told_later(autojump_clock, world, trouble):
    desk = world.desk()
    session = await signed_in(world, desk)
    getattr(world.tier, trouble)()
    assert (await sign_out(world, desk, session["accessToken"])).status == 204
    assert (await with_token(world, desk, session["accessToken"])).code == "SESSION_EXPIRED"
    assert (await refresh(world, desk, session["refreshToken"])).code == "SESSION_EXPIRED"
    world.tier.start()
    await let_everything_happen(30)
    assert world.tier._revoked.get(("resort", session["sessionId"]))
    assert world.owner.live == ()


async def test_when_neither_could_be_told_nothing_has_changed_and_the_desk_may_try_again(autojump_clock, world):
    desk = world.desk()
    session = await signed_in(world, desk)
    world.tier.down()
    world.iam.inject(split("down"))
    said = await sign_out(world, desk, session["accessToken"])
    assert (said.status, said.code, said.json()["retryable"]) == (502, "UPSTREAM_UNAVAILABLE", True)
    world.iam.clear()
    world.house.upstreams.breakers.clear()
    assert (await with_token(world, desk, session["accessToken"])).status == 200
    assert (await sign_out(world, desk, session["accessToken"])).status == 204


async def test_what_is_tried_on_behind_the_answer_comes_to_an_end(autojump_clock, world):
    desk = world.desk()
    session = await signed_in(world, desk)
    world.iam.inject(split("down"))
    await sign_out(world, desk, session["accessToken"])
    assert world.owner.live
    await trio.sleep(61)
    assert world.owner.live == ()


async def test_a_session_that_iam_has_forgotten_is_over(autojump_clock, world):
    desk = world.desk()
    world.tier.down()
    assert (await sign_out(world, desk, desk.token(sid="long-gone"))).status == 204


# -- bodies ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"tenant": None}, "$.tenant"),
        ({"tenant": ""}, "$.tenant"),
        ({"tenant": "a b"}, "$.tenant"),
        ({"tenant": "a\r\nx-tenant-id: city"}, "$.tenant"),
        ({"operator": "a,b"}, "$.operator"),
        ({"operator": "é"}, "$.operator"),
        ({"deviceId": "x" * 129}, "$.deviceId"),
        ({"password": 7}, "$.password"),
        ({"password": "x" * 1_025}, "$.password"),
        ({"more": 1}, "$"),
    ],
)
async def test_a_body_that_is_not_what_it_should_be_says_where(autojump_clock, world, change, path):
    said = await sign_in(world, world.desk(), **change)
    assert (said.status, said.code) == (400, "VALIDATION_FAILED")
    assert said.json()["errors"][0]["path"] == path
    assert world.iam.service.counts["signIn"].calls == 0


@settings(max_examples=80, deadline=None)
@given(name=st.text(min_size=1, max_size=140))
def test_whatever_name_is_let_through_can_be_a_header_and_a_part_of_a_list(name):
    body = msgspec.json.encode({"tenant": name, "operator": "o", "password": "p", "deviceId": "d"})
    try:
        said = msgspec.json.decode(body, type=SignInBody)
    except msgspec.ValidationError:
        return
    assert said.tenant.isascii()
    assert said.tenant.isprintable()
    assert not set(said.tenant) & set(", \r\n")


def test_a_password_and_a_token_never_print():
    for shown in (
        SignInBody("t", "o", "hush", "d"),
        RefreshBody("hush"),
        SessionBody("DPoP", "hush", "hush", 1, "s", "t", "o", ()),
    ):
        assert "hush" not in repr(shown)
        assert "hush" not in f"{[shown]}"
