"""Stepping up, through the real app: what a code gives, what a guess costs, and what iam's troubles do (F-2, F-29)."""

import msgspec
import pytest
import trio

from bff.facts import RungRefused, SchemaDrifted
from bff.gate.bodies import AttestationBody, StepUpBody
from bff.gate.ladder import Attests, Pass
from chaos.toxics import split

IN, STEP_UP, REFRESH = "/v1/session", "/v1/session/step-up", "/v1/session/refresh"
PERSONS = {"ines": ("ines-desk-2015", "201508"), "tiago": ("tiago-desk-2015", "150815")}
FOLIO, KEY = "f-00870", "lock-praia-101/key-1"
REFUND, REVOKE = Attests("folio.refund", FOLIO), Attests("lock.revoke", KEY)
IAM_FAULTS = ["down", "hang", "status code=503", "drip bytes-per-second=1", "reset after=10", "giant bytes=2000000"]
DRIFTS = ["garbage", "drift field=attestation", "drift field=resource missing=true", "wrong-tenant"]


class SignedIn:
    """A desk whose session iam knows."""

    def __init__(self, world, desk, session):
        self.world, self.desk, self.session = world, desk, session

    @property
    def code(self):
        return PERSONS[self.desk.operator][1]

    async def step_up(self, code=None, headers=None, **said):
        body = {"action": "folio.refund", "resource": FOLIO, "code": self.code if code is None else code, **said}
        head = self.desk.head("POST", STEP_UP, self.session["accessToken"])
        return await self.world.ask("POST", STEP_UP, {**head, **(headers or {})}, body)

    async def attestation(self, **said):
        answer = await self.step_up(**said)
        assert answer.status == 201, answer.body
        return answer.json()["attestation"]

    async def renew(self):
        body = {"refreshToken": self.session["refreshToken"]}
        self.session = (await self.world.ask("POST", REFRESH, self.desk.head("POST", REFRESH), body)).json()

    async def climbs(self, attestation, attests):
        """What the ladder says to a mutation with it: the word of its refusal, or ``."""
        head = self.desk.head("POST", "/v1/x", self.session["accessToken"])
        request = self.world.head(
            "POST", "/v1/x", {**head, "x-mfa-attestation": attestation, "idempotency-key": "key-1"}
        )
        said = await self.world.climb(request, seconds=5.0, tier=True, keyed=True, attests=attests)
        return "" if isinstance(said, Pass) else said.code.word


async def signed_in(world, operator="ines", device="desk-1"):
    desk = world.desk(operator=operator, device=device)
    body = {"tenant": "resort", "operator": operator, "password": PERSONS[operator][0], "deviceId": device}
    said = await world.ask("POST", IN, desk.head("POST", IN), body)
    assert said.status == 201
    return SignedIn(world, desk, said.json())


def asked(world):
    return world.iam.service.counts["attestStepUp"].calls


# -- the right code --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [REFUND, REVOKE], ids=lambda wanted: wanted.action)
async def test_the_right_code_gives_a_second_factor_for_that_action_on_that_thing_alone_f29(
    autojump_clock, world, wanted
):
    desk = await signed_in(world)
    said = await desk.step_up(action=wanted.action, resource=wanted.resource)
    body = said.json()
    assert (said.status, set(body)) == (201, {"attestation", "action", "resource", "expiresAt"})
    assert (body["action"], body["resource"]) == (wanted.action, wanted.resource)
    assert body["expiresAt"] == "2015-08-15T08:02:00.000Z"
    assert await desk.climbs(body["attestation"], wanted) == ""
    for other in (Attests(wanted.action, "f-00934"), REVOKE if wanted is REFUND else REFUND):
        assert await desk.climbs(body["attestation"], other) == "MFA_INVALID_OR_USED"


async def test_it_is_worth_nothing_in_another_session_of_the_same_operator_f29(autojump_clock, world):
    mine, other = await signed_in(world), await signed_in(world, device="desk-2")
    attestation = await mine.attestation()
    assert await other.climbs(attestation, REFUND) == "MFA_INVALID_OR_USED"
    assert await mine.climbs(attestation, REFUND) == ""


async def test_it_holds_when_the_session_was_renewed_meanwhile(autojump_clock, world):
    desk = await signed_in(world)
    await trio.sleep(60)
    attestation = await desk.attestation()
    before = desk.session["accessToken"]
    await desk.renew()
    assert desk.session["accessToken"] != before
    assert await desk.climbs(attestation, REFUND) == ""
    await trio.sleep(120)
    assert await desk.climbs(attestation, REFUND) == "MFA_INVALID_OR_USED"


@pytest.mark.parametrize(
    ("operator", "action", "resource"),
    [
        ("ines", "folio.refund", "f-10856"),  # another tenant's
        ("tiago", "folio.refund", "f-00981"),  # of a property that he does not see
        ("tiago", "lock.revoke", "lock-serra-101/key-1"),
        ("ines", "folio.refund", "f-99999"),
        ("ines", "lock.revoke", "lock-praia-101"),
    ],
)
async def test_what_is_beyond_the_operator_s_scope_is_not_there_and_no_guess(
    autojump_clock, world, operator, action, resource
):
    desk = await signed_in(world, operator)
    for _ in range(6):
        said = await desk.step_up(action=action, resource=resource)
        assert (said.status, said.code) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"action": "folio.charge"}, "$.action"),
        ({"action": None}, "$.action"),
        ({"resource": ""}, "$.resource"),
        ({"resource": "f 1"}, "$.resource"),
        ({"resource": "f-1\r\nx"}, "$.resource"),
        ({"resource": "r" * 258}, "$.resource"),
        ({"code": ""}, "$.code"),
        ({"code": 201508}, "$.code"),
        ({"code": "c" * 129}, "$.code"),
        ({"remember": True}, "$"),
    ],
)
async def test_a_body_that_is_not_the_contract_s_is_400_and_iam_never_hears_of_it(autojump_clock, world, said, path):
    answer = await (await signed_in(world)).step_up(**said)
    assert (answer.status, answer.code) == (400, "VALIDATION_FAILED")
    assert answer.json()["errors"][0]["path"] == path
    assert asked(world) == 0


@pytest.mark.parametrize("trouble", ["down", "stop"])
async def test_without_the_session_tier_nobody_steps_up_f18(autojump_clock, world, trouble):
    desk = await signed_in(world)
    getattr(world.tier, trouble)()
    said = await desk.step_up()
    assert (said.status, said.code) == (503, "CACHE_UNAVAILABLE")
    assert asked(world) == 0


async def test_a_session_that_iam_has_ended_is_over_f31(autojump_clock, world):
    desk = await signed_in(world)
    world.iam_itself.revoke(desk.session["sessionId"])
    said = await desk.step_up()
    assert (said.status, said.code) == (401, "SESSION_EXPIRED")


# -- iam's troubles --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("toxic", IAM_FAULTS)
async def test_iam_gone_is_502_in_time_and_nothing_else_is_affected_f2(autojump_clock, world, toxic):
    desk = await signed_in(world)
    world.iam.inject(split(toxic))
    began = trio.current_time()
    for _ in range(6):  # more often than a code may be wrong
        began, said = trio.current_time(), await desk.step_up()
        assert (said.status, said.code, said.json()["upstream"]) == (502, "UPSTREAM_UNAVAILABLE", "iam")
        assert said.json()["retryAfterMs"] > 0
        assert said.at - began <= 3.0
    assert (await world.ask("GET", IN, desk.desk.head("GET", IN, desk.session["accessToken"]))).status == 200


async def test_a_shorter_deadline_is_kept_with_iam_hanging(autojump_clock, world):
    desk = await signed_in(world)
    await desk.attestation()
    world.iam.inject(split("hang"))
    began = trio.current_time()
    said = await desk.step_up(headers={"x-deadline-ms": "50"})
    assert said.code == "UPSTREAM_UNAVAILABLE"
    assert said.at - began <= 0.05


@pytest.mark.parametrize("toxic", DRIFTS)
async def test_an_answer_of_iam_s_that_is_not_what_it_should_be_is_drift_f15_f30(autojump_clock, world, toxic):
    desk = await signed_in(world)
    world.iam.inject(split(toxic))
    said = await desk.step_up()
    assert (said.status, said.code) == (502, "SCHEMA_DRIFT")
    assert b"eyJ" not in said.body
    assert world.told(SchemaDrifted)


@pytest.mark.parametrize(
    "lie",
    [
        {"tid": "city"},
        {"sub": "tiago"},
        {"sid": "another"},
        {"cnf": {"jkt": "x"}},
        {"act": "lock.revoke"},
        {"res": "f-00934"},
        {"aud": "x"},
        {"jti": None},
    ],
    ids=lambda lie: next(iter(lie)),
)
async def test_an_attestation_that_says_otherwise_than_was_asked_is_handed_to_nobody_f29(autojump_clock, world, lie):
    itself = world.iam_itself
    made = itself._attestation

    def lying(session, asked):
        ends, attestation = made(session, asked)
        return ends, itself.mint(attestation, lie, {})

    itself._attestation = lying
    said = await (await signed_in(world)).step_up()
    assert (said.status, said.code) == (502, "SCHEMA_DRIFT")
    assert [fact.path for fact in world.told(SchemaDrifted)] == ["$.attestation"]


@pytest.mark.parametrize(("field", "other"), [("action", "lock.revoke"), ("resource", "f-00934")])
async def test_an_answer_for_something_else_than_was_asked_is_drift_f15(autojump_clock, world, field, other):
    attest = next(one for one in world.iam.service.operations if one.name == "attestStepUp")
    handler = attest.handler

    def lying(call):
        reply = handler(call)
        return type(reply)(reply.status, {**reply.body, field: other}, reply.effect)

    object.__setattr__(attest, "handler", lying)
    said = await (await signed_in(world)).step_up()
    assert (said.status, said.code) == (502, "SCHEMA_DRIFT")
    assert [fact.path for fact in world.told(SchemaDrifted)] == [f"$.{field}"]


# -- wrong codes -----------------------------------------------------------------------------------------------------


async def test_a_wrong_code_is_401_and_names_the_scheme(autojump_clock, world):
    said = await (await signed_in(world)).step_up("000000")
    assert (said.status, said.code) == (401, "MFA_INVALID_OR_USED")
    assert said.header("www-authenticate").startswith("DPoP ")


async def test_after_five_wrong_codes_in_a_quarter_of_an_hour_the_sixth_is_not_asked_about(autojump_clock, world):
    desk = await signed_in(world)
    said = [await desk.step_up("000000") for _ in range(6)]
    assert [one.code for one in said] == ["MFA_INVALID_OR_USED"] * 5 + ["RATE_LIMITED"]
    assert (said[-1].status, said[-1].json()["retryAfterMs"], said[-1].header("retry-after")) == (429, 180_000, "180")
    assert (asked(world), world.told(RungRefused)[-1].why) == (5, "codes")
    assert (await desk.step_up()).code == "RATE_LIMITED"
    other_desk = await signed_in(world, device="desk-2")
    assert (await other_desk.step_up()).code == "RATE_LIMITED"  # it is the operator who is guessed at
    assert (await (await signed_in(world, "tiago")).step_up()).status == 201
    await trio.sleep(180)
    assert (await desk.step_up()).status == 201
    assert (await desk.step_up("000000")).code == "MFA_INVALID_OR_USED"
    assert (await desk.step_up("000000")).code == "RATE_LIMITED"


async def test_guesses_sent_at_once_are_worth_no_more_than_one_after_the_other(autojump_clock, world):
    desk = await signed_in(world)
    world.iam.inject(split("latency ms=100"))
    said = []

    async def guess(code):
        said.append((await desk.step_up(code)).code)

    async with trio.open_nursery() as nursery:
        for number in range(30):
            nursery.start_soon(guess, f"{number:06}")
    assert sorted(said) == ["MFA_INVALID_OR_USED"] * 5 + ["RATE_LIMITED"] * 25


async def test_the_right_one_among_guesses_sent_at_once_is_not_told_either(autojump_clock, world):
    desk = await signed_in(world)
    world.iam.inject(split("latency ms=100"))
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(desk.step_up, "000000")
        await trio.sleep(0.01)
        assert (await desk.step_up()).code == "RATE_LIMITED"


async def test_however_often_the_right_code_comes_it_is_taken_and_each_time_for_another_use_f29(autojump_clock, world):
    desk, made = await signed_in(world), []

    async def step_up():
        made.append(await desk.attestation())

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(step_up)
    assert len(set(made)) == 20


async def test_codes_are_not_counted_where_the_rate_is_off(autojump_clock, open_world):
    async with open_world(rate_codes="0") as world:
        desk = await signed_in(world)
        assert {(await desk.step_up("000000")).code for _ in range(10)} == {"MFA_INVALID_OR_USED"}
        assert (await desk.step_up()).status == 201


def test_a_code_and_an_attestation_never_print():
    for shown in (StepUpBody("lock.revoke", "r", "hush"), AttestationBody("hush", "lock.revoke", "r", "then")):
        assert "hush" not in repr(shown)
        assert "hush" not in f"{[shown]}"


def test_the_example_is_one_that_is_taken():
    assert msgspec.convert(StepUpBody.EXAMPLE, type=StepUpBody).code == PERSONS["ines"][1]
