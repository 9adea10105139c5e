"""The ladder: each rung alone, all of them at once, and what the session tier's silence does to it."""

from contextlib import ExitStack
from dataclasses import replace
from itertools import chain, combinations

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from bff.facts import ReplayBlocked, RungRefused
from bff.gate.ladder import DOORSTEP, LADDER, Attests, Knocked, Pass
from bff.gate.replay import Verdict
from bff.problem import Problem, render
from bff.stores.keys import Claimed, Claiming, KeyId
from bff.wire.trace import ServerTiming
from chaos.hotel.fleet.proof import make_key
from chaos.toxics import split
from nurseries import BulkheadPermit, Unbounded, within

PATH = "/v1/dashboard"
MINE = "resort-praia"
ALL = {"tier": True, "keyed": True, "attests": Attests("folio.refund", "f-00870")}


class Attempt:
    """A request that is in order, until something is done to it; `undo` puts the world back."""

    def __init__(self, world):
        self.world = world
        self.desk = world.desk()
        self.claims = {}
        self.proof = {"method": "GET", "path": PATH}
        self.headers = {}
        self.query = f"propertyId={MINE}"
        self.demands = {}
        self.attested = {}
        self.spent_on = None
        self.undo = []
        self.hasty = False
        self.standing = "active"

    async def prepare(self):
        """What others have done before it comes."""
        await self.world.tenant_stands(self.standing)
        if self.spent_on is not None:
            name, jti = self.spent_on, self.attested["jti"]
            with within(1.0):
                claiming = Claiming(name, b"f", (name.key,), b"", 10.0, attestation=jti)
                assert isinstance(await self.world.ledger.session().claim(claiming), Claimed)

    def request(self):
        token = self.desk.token(**self.claims)
        method, path, extra = self.proof["method"], self.proof["path"], dict(self.proof)
        del extra["method"], extra["path"]
        headers = self.desk.head(method, path, extra.pop("token", token), **extra)
        headers["authorization"] = f"DPoP {token}"
        headers["x-mfa-attestation"] = self.desk.attestation(**self.attested)
        headers["idempotency-key"] = "key-1"
        headers.update(self.headers)
        present = {name: value for name, value in headers.items() if value is not None}
        if self.hasty:
            while isinstance(place := self._place(present.get("x-device-id", "")), BulkheadPermit):
                place.leave()
        return self.world.head("GET", PATH, present, query=self.query)

    def _place(self, device):
        return self.world.gate.admission.enter("127.0.0.1", device.encode())


def draining(at):
    at.world.gate.admission.draining = True
    at.undo.append(lambda: setattr(at.world.gate.admission, "draining", False))


def overloaded(at):
    places = at.world.gate.admission.places
    taken = [places.enter() for _ in range(places.limit - places.kept - places.in_use)]
    at.undo.append(lambda: [place.leave() for place in taken])


def too_fast(at):
    at.hasty = True


def no_token(at):
    at.headers["authorization"] = None


def bearer(at):
    at.headers["authorization"] = f"Bearer {at.desk.token()}"


def of_another_issuer(at):
    at.claims["iss"] = "https://elsewhere.example"


def for_another_audience(at):
    at.claims["aud"] = "somebody-else"


def no_proof(at):
    at.headers["dpop"] = None


def of_another_method(at):
    at.proof["method"] = "POST"


def of_another_path(at):
    at.proof["path"] = "/v1/session"


def of_another_origin(at):
    at.proof["origin"] = "https://elsewhere.example"


def of_another_token(at):
    at.proof["token"] = at.desk.token(jti="other")


def of_another_key(at):
    at.proof["key"] = make_key(at.world.entropy)


def too_old(at):
    at.proof["now"] = at.world.now() - 61


def from_the_future(at):
    at.proof["now"] = at.world.now() + 61


def seen_here(at):
    at.proof["jti"] = "again"
    assert at.world.gate.window.claim(at.desk.key.kid, "again", at.world.now()) is Verdict.FRESH


def expired(at):
    at.claims["exp"] = at.world.now()


def ended_here(at):
    at.world.gate.ended.add(at.desk.tenant, at.desk.session)


def foreign_device(at):
    at.headers["x-device-id"] = "desk-2"


def no_device(at):
    at.headers["x-device-id"] = None


def suspended(at):
    at.standing = "suspended"


def out_of_scope(at):
    at.query = "propertyId=resort-serra"


def asked_twice(at):
    at.query = f"propertyId={MINE}&propertyId={MINE}"


def asked_for_nothing(at):
    at.query = "propertyId="


def tier_down(at):
    at.demands = ALL
    at.world.tier.down()
    at.undo.append(at.world.tier.start)


def tier_hangs(at):
    at.demands = ALL
    at.world.tier.stop()
    at.undo.append(at.world.tier.start)


def not_attested(at):
    at.demands = ALL
    at.headers["x-mfa-attestation"] = None


def attested_for_another_thing(at):
    at.demands = ALL
    at.attested["res"] = "f-00871"


def attested_in_another_session(at):
    at.demands = ALL
    at.attested["sid"] = "another"


def attested_too_long_ago(at):
    at.demands = ALL
    at.attested["exp"] = at.world.now()


def spent(at):
    at.demands = ALL
    at.spent_on = KeyId("resort", "ines", f"key of {at.desk.session}")
    at.attested["jti"] = f"of {at.desk.session}"


def no_key(at):
    at.demands = ALL
    at.headers["idempotency-key"] = None


def key_with_a_space(at):
    at.demands = ALL
    at.headers["idempotency-key"] = "key 1"


# What can be wrong at each rung, and what is answered then: CONTRACT section 2.
WRONG = {
    0: {draining: (503, "DRAINING"), overloaded: (503, "OVERLOADED"), too_fast: (429, "RATE_LIMITED")},
    1: dict.fromkeys((no_token, bearer, of_another_issuer, for_another_audience), (401, "SESSION_REQUIRED")),
    2: dict.fromkeys(
        (
            no_proof,
            of_another_method,
            of_another_path,
            of_another_origin,
            of_another_token,
            of_another_key,
            too_old,
            from_the_future,
            seen_here,
        ),
        (401, "DPOP_INVALID"),
    ),
    3: dict.fromkeys((expired, ended_here), (401, "SESSION_EXPIRED")),
    4: dict.fromkeys((foreign_device, no_device), (403, "DEVICE_MISMATCH")),
    5: {suspended: (503, "TENANT.SUSPENDED")},
    6: {
        out_of_scope: (403, "PROPERTY_OUT_OF_SCOPE"),
        asked_twice: (400, "VALIDATION_FAILED"),
        asked_for_nothing: (400, "VALIDATION_FAILED"),
    },
    7: dict.fromkeys((tier_down, tier_hangs), (503, "CACHE_UNAVAILABLE")),
    8: {
        not_attested: (401, "MFA_REQUIRED"),
        attested_for_another_thing: (401, "MFA_INVALID_OR_USED"),
        attested_in_another_session: (401, "MFA_INVALID_OR_USED"),
        attested_too_long_ago: (401, "MFA_INVALID_OR_USED"),
        spent: (401, "MFA_INVALID_OR_USED"),
    },
    9: dict.fromkeys((no_key, key_with_a_space), (400, "IDEMPOTENCY_KEY_REQUIRED")),
}
EVERY = [(rung, wrong) for rung, ways in WRONG.items() for wrong in ways]


async def judged(world, *wrongs):
    """What the ladder says to a request with all of these wrong, as (status, code), or the `Pass`."""
    attempt = Attempt(world)
    for wrong in wrongs:
        wrong(attempt)
    await attempt.prepare()
    said = await world.climb(attempt.request(), **attempt.demands, seconds=5.0)
    for undo in attempt.undo:
        undo()
    return (said.status, said.code.word) if isinstance(said, Problem) else said


def test_the_ladder_is_the_contract_s_in_its_order():
    assert [rung.number for rung in LADDER] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert [rung.number for rung in DOORSTEP] == [0, 2]
    assert len({rung.name for rung in LADDER} | {rung.why for rung in LADDER}) == 2 * len(LADDER)


async def test_a_request_that_is_in_order_comes_all_the_way_up(autojump_clock, world):
    attempt = Attempt(world)
    said = await world.climb(attempt.request())
    assert isinstance(said, Pass)
    assert (said.claims.tenant, said.claims.operator, said.property) == ("resort", "ines", MINE)
    assert said.jkt == attempt.desk.key.kid
    assert (said.blob, said.tier_down) == (None, False)
    assert world.told(RungRefused) == []


@pytest.mark.parametrize(("rung", "wrong"), EVERY, ids=lambda value: getattr(value, "__name__", value))
async def test_each_thing_that_can_be_wrong_is_refused_by_its_rung_alone(autojump_clock, world, rung, wrong):
    assert await judged(world, wrong) == WRONG[rung][wrong]
    assert [(fact.rung, fact.code) for fact in world.told(RungRefused)] == [(rung, WRONG[rung][wrong][1])]


async def test_of_every_subset_of_the_rungs_the_first_one_answers(autojump_clock, open_world):
    first_ways = {rung: next(iter(ways)) for rung, ways in WRONG.items()}
    async with open_world() as world:
        for broken in chain.from_iterable(combinations(WRONG, size) for size in range(len(WRONG) + 1)):
            await trio.sleep(0.02)  # or so many requests in one moment were too fast
            said = await judged(world, *(first_ways[rung] for rung in broken))
            if broken:
                assert said == WRONG[broken[0]][first_ways[broken[0]]], broken
            else:
                assert isinstance(said, Pass)


@settings(max_examples=60, deadline=None)
@given(
    wrongs=st.fixed_dictionaries({rung: st.none() | st.sampled_from(list(ways)) for rung, ways in WRONG.items()}),
    order=st.randoms(use_true_random=False),
)
def test_whatever_is_wrong_at_once_the_first_rung_that_holds_answers(simulate, open_world, wrongs, order):
    broken = sorted((rung, wrong) for rung, wrong in wrongs.items() if wrong is not None)
    shuffled = [wrong for _, wrong in broken]
    order.shuffle(shuffled)

    async def main():
        async with open_world() as world:
            return await judged(world, *shuffled)

    said = simulate(main)
    if broken:
        rung, wrong = broken[0]
        assert said == WRONG[rung][wrong]
    else:
        assert isinstance(said, Pass)


@pytest.mark.parametrize("wrong", [wrong for rung in (1, 2, 3, 8) for wrong in WRONG[rung]], ids=lambda w: w.__name__)
async def test_every_401_names_the_scheme_rfc9449_7_1(autojump_clock, world, wrong):
    attempt = Attempt(world)
    wrong(attempt)
    await attempt.prepare()
    said = await world.climb(attempt.request(), **attempt.demands)
    named = dict(render(said, "id").headers)["www-authenticate"]
    assert named.startswith('DPoP algs="ES256"')


async def test_a_refusal_holds_nothing_of_the_token_or_the_proof(autojump_clock, world):
    for _, wrong in EVERY:
        attempt = Attempt(world)
        wrong(attempt)
        await attempt.prepare()
        request = attempt.request()
        said = await world.climb(request, **attempt.demands, seconds=5.0)
        for undo in attempt.undo:
            undo()
        text = render(said, "id").body
        headers = (b"dpop", b"authorization", b"x-mfa-attestation")
        secrets = [*(value for name in headers for value in request.all(name)), attempt.desk.session.encode()]
        assert not any(part in text for secret in secrets for part in secret.split(b".") if len(part) > 4)


# -- replays (F-28) ------------------------------------------------------------------------------------------------


async def test_of_many_equal_proofs_at_once_exactly_one_passes_f28(autojump_clock, world):
    request = Attempt(world).request()
    said = []

    async def present():
        said.append(await world.climb(request))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(present)
    assert sum(isinstance(one, Pass) for one in said) == 1
    assert [fact.by for fact in world.told(ReplayBlocked)] == ["window"] * 19


async def test_of_equal_proofs_at_two_instances_exactly_one_passes_f28(autojump_clock, open_world):
    async with open_world() as here, open_world() as there:
        there.gate.tier.present = here.tier.present
        request = Attempt(here).request()
        said = []

        async def present(instance):
            said.append(await instance.climb(request))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(present, here)
            nursery.start_soon(present, there)
        assert sorted(isinstance(one, Pass) for one in said) == [False, True]
        told = here.told(ReplayBlocked) + there.told(ReplayBlocked)
        assert {fact.by for fact in told} == {"tier"}


@pytest.mark.parametrize("trouble", ["down", "stop"])
async def test_with_the_tier_gone_a_read_goes_on_and_its_proof_is_still_used_up_f18_f28(autojump_clock, world, trouble):
    getattr(world.tier, trouble)()
    request = Attempt(world).request()
    began = trio.current_time()
    said = await world.climb(request)
    assert isinstance(said, Pass)
    assert said.tier_down
    assert trio.current_time() - began == pytest.approx(0.08 if trouble == "stop" else 0)
    again = await world.climb(request)
    assert again.code.word == "DPOP_INVALID"
    assert [fact.by for fact in world.told(ReplayBlocked)] == ["window"]


async def test_a_proof_accepted_while_the_tier_was_up_is_refused_by_the_window_when_it_is_down_f28(
    autojump_clock, world
):
    request = Attempt(world).request()
    assert isinstance(await world.climb(request), Pass)
    world.tier.down()
    assert (await world.climb(request)).code.word == "DPOP_INVALID"


@pytest.mark.parametrize("wrong", [expired, foreign_device, suspended, out_of_scope], ids=lambda w: w.__name__)
async def test_a_proof_is_used_up_though_a_later_rung_refuses_its_request(autojump_clock, world, wrong):
    attempt = Attempt(world)
    wrong(attempt)
    await world.tenant_stands(attempt.standing)
    request = attempt.request()
    assert (await world.climb(request)).code.word != "DPOP_INVALID"
    assert (await world.climb(request)).code.word == "DPOP_INVALID"


async def test_a_proof_that_does_not_hold_uses_nothing_up(autojump_clock, world):
    attempt = Attempt(world)
    attempt.proof.update(method="POST", jti="mine")
    assert (await world.climb(attempt.request())).code.word == "DPOP_INVALID"
    attempt.proof["method"] = "GET"
    assert isinstance(await world.climb(attempt.request()), Pass)


async def test_what_the_window_cannot_remember_it_refuses_f41(autojump_clock, world):
    world.gate.window.bound = 0
    assert (await world.climb(Attempt(world).request())).code.word == "DPOP_INVALID"
    assert world.told(ReplayBlocked) == []


async def test_strangers_cannot_fill_the_window_of_those_who_have_a_session_f41(autojump_clock, world):
    desk = world.desk()
    world.gate.strangers.bound = 1
    for expected in (Knocked, Problem):
        request = world.head("POST", "/v1/session", desk.head("POST", "/v1/session"))
        assert isinstance(await world.knock(request), expected)
    assert isinstance(await world.climb(Attempt(world).request()), Pass)


# -- the session tier ------------------------------------------------------------------------------------------------


async def test_the_tier_is_asked_once_and_what_it_took_is_told(autojump_clock, world):
    asked = []
    present, timing = world.tier.present, ServerTiming()
    world.tier.present = lambda proof: (asked.append(proof), present(proof))[1]
    world.tier.latency(0.02)
    await world.climb(Attempt(world).request(), timing=timing)
    assert len(asked) == 1
    assert timing.header() == b"session-tier;dur=20"


async def test_a_session_revoked_anywhere_is_over_here_f31(autojump_clock, world):
    attempt = Attempt(world)
    with trio.CancelScope(deadline=trio.current_time() + 1):
        await world.tier.revoke("resort", attempt.desk.session, 60)
    assert (await world.climb(attempt.request())).code.word == "SESSION_EXPIRED"


@pytest.mark.parametrize(("tier", "patience"), [(False, 0.1), (True, 0.5)])
async def test_a_tier_that_hangs_is_waited_for_a_small_part_of_the_deadline(autojump_clock, world, tier, patience):
    world.tier.stop()
    began = trio.current_time()
    said = await world.climb(Attempt(world).request(), tier=tier, seconds=10.0)
    assert isinstance(said, Problem) == tier
    assert trio.current_time() - began == pytest.approx(patience)


async def test_nobody_climbs_without_a_deadline(autojump_clock, world):
    with pytest.raises(Unbounded):
        await world.climb(Attempt(world).request(), seconds=float("inf"))


# -- iam's keys ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("toxic", ["down", "hang", "status code=503", "reset after=20"])
@pytest.mark.parametrize("seconds", [0.79, 4.99])
async def test_iam_down_before_its_first_keys_is_502_and_never_401(autojump_clock, world, toxic, seconds):
    world.iam.inject(split(toxic))
    began = trio.current_time()
    said = await world.climb(Attempt(world).request(), seconds=seconds)
    assert (said.status, said.code.word, said.upstream) == (502, "UPSTREAM_UNAVAILABLE", "iam")
    assert trio.current_time() - began < seconds


async def test_iam_down_afterwards_is_nobody_s_trouble_f1(autojump_clock, world):
    assert isinstance(await world.climb(Attempt(world).request()), Pass)
    world.iam.inject(split("down"))
    assert isinstance(await world.climb(Attempt(world).request()), Pass)


async def test_no_token_at_all_is_401_whether_iam_is_there_or_not(autojump_clock, world):
    world.iam.inject(split("down"))
    assert await judged(world, no_token) == (401, "SESSION_REQUIRED")


# -- the property ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", None),
        ("date=2015-08-15", None),
        ("propertyid=resort-serra", None),
        (f"propertyId={MINE}", MINE),
        ("%70ropertyId=resort%2Dpraia", MINE),
        ("propertyId=RESORT-PRAIA", "PROPERTY_OUT_OF_SCOPE"),
        ("propertyId=resort-praia%00", "PROPERTY_OUT_OF_SCOPE"),
        ("propertyId=resort-praia,resort-serra", "PROPERTY_OUT_OF_SCOPE"),
        ("propertyId", "VALIDATION_FAILED"),
        (f"propertyId={MINE}&%70ropertyId=resort-serra", "VALIDATION_FAILED"),
        ("propertyId=%ff", "VALIDATION_FAILED"),
    ],
)
async def test_the_property_asked_for_is_read_strictly(autojump_clock, world, query, found):
    attempt = Attempt(world)
    attempt.query = query
    said = await world.climb(attempt.request())
    assert (said.property if isinstance(said, Pass) else said.code.word) == found


async def test_two_device_headers_are_not_the_session_s_device(autojump_clock, world):
    attempt = Attempt(world)
    request = attempt.request()
    doubled = (*request.headers, (b"x-device-id", attempt.desk.device.encode()))
    said = await world.climb(replace(request, headers=doubled))
    assert said.code.word == "DEVICE_MISMATCH"


# -- who knocks ------------------------------------------------------------------------------------------------------


async def test_who_signs_in_needs_a_proof_and_no_token(autojump_clock, world):
    desk = world.desk()
    said = await world.knock(world.head("POST", "/v1/session", desk.head("POST", "/v1/session")))
    assert isinstance(said, Knocked)
    assert (said.jkt, said.presented.tenant, said.presented.session) == (desk.key.kid, None, None)


async def test_a_proof_at_the_doorstep_is_good_once_f28(autojump_clock, world):
    request = world.head("POST", "/v1/session", world.desk().head("POST", "/v1/session"))
    assert isinstance(await world.knock(request), Knocked)
    assert (await world.knock(request)).code.word == "DPOP_INVALID"


async def test_who_comes_without_a_proof_is_not_let_in(autojump_clock, world):
    said = await world.knock(world.head("POST", "/v1/session", {}))
    assert said.code.word == "DPOP_INVALID"


async def test_who_signs_in_is_let_in_while_the_house_is_full(autojump_clock, world):
    attempt = Attempt(world)
    overloaded(attempt)
    assert (await world.climb(attempt.request())).code.word == "OVERLOADED"
    request = world.head("POST", "/v1/session", attempt.desk.head("POST", "/v1/session"))
    assert isinstance(await world.knock(request), Knocked)
    assert isinstance(await world.climb(attempt.request(), urgent=True), Pass)


# -- the place in the house ------------------------------------------------------------------------------------------


async def test_a_place_is_held_as_long_as_the_caller_holds_it(autojump_clock, world):
    places = world.gate.admission.places
    with ExitStack() as stay:
        assert isinstance(await world.climb(Attempt(world).request(), stay=stay), Pass)
        assert places.in_use == 1
    assert places.in_use == 0


async def test_a_place_is_given_back_whatever_becomes_of_the_request(autojump_clock, world):
    places = world.gate.admission.places
    assert isinstance(await judged(world, expired), tuple)
    world.tier.stop()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.climb, Attempt(world).request())
        await trio.testing.wait_all_tasks_blocked()
        assert places.in_use == 1
        nursery.cancel_scope.cancel()
    assert places.in_use == 0
