"""iam's keys: read once for all who wait, kept through an outage, asked for again when a new kid comes."""

import random

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from bff.facts import SchemaDrifted
from bff.outside import Outside
from bff.problem import Code
from bff.upstreams.client import Missed, Reason, Upstreams
from bff.upstreams.drift import Drift
from bff.upstreams.jwks import MOST_TRIED, Keys, read_keys
from bff.wire.exchange import Origin
from bff.wire.pool import Pool
from chaos.hotel.estate.signing import make_signer
from chaos.sim.link import Network
from nurseries import BreakerRule, Unbounded, listening, open_owner, within

SIGNERS = [make_signer(random.Random(f"jwks {n}").randbytes) for n in range(20)]
OLD, NEW = SIGNERS[:2]


def public(signer):
    return signer.key.public_key()


class Iam:
    """Answers every request with its keys, `slow` seconds later; or with `status`, or with `body`, as a test wants."""

    def __init__(self, network, nursery):
        self.signers, self.slow, self.statuses, self.body, self.calls = [OLD], 0.0, [], None, 0
        self.listening = network.listen("iam", 80, self.serve, nursery)

    async def serve(self, stream):
        head = b""
        while piece := await stream.receive_some():
            head += piece
            if head.endswith(b"\r\n\r\n"):
                assert head.startswith(b"GET /jwks HTTP/1.1\r\n")
                self.calls += 1
                head, status = b"", self.statuses.pop(0) if self.statuses else 200
                await trio.sleep(self.slow)
                body = self.body or msgspec.json.encode({"keys": [signer.jwk for signer in self.signers]})
                await stream.send_all(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))


class World:
    """`told` is every fact. `dials` counts what iam did not have to accept."""

    def __init__(self, network, iam, owner, upstreams, keys, told):
        self.network, self.iam, self.owner, self.upstreams = network, iam, owner, upstreams
        self.keys, self.told = keys, told

    async def find(self, kid=OLD.kid, seconds=1.0):
        with within(seconds):
            return await self.keys.find(kid)

    @property
    def dials(self):
        return self.network.dialled.get(("iam", 80), 0)


@pytest.fixture
async def world(nursery):
    network, told, drawn = Network(), [], random.Random("jwks")
    async with open_owner("iam", bound=20) as owner:
        outside = Outside(lambda: 1.44e9 + trio.current_time(), drawn.randbytes, network.connect)
        origins = {"iam": Origin("http", "iam", 80)}
        upstreams = Upstreams(Pool(network.connect), origins, outside, owner, BreakerRule())
        keys = Keys(upstreams, owner, entropy=drawn.randbytes)
        with listening(told.append):
            yield World(network, Iam(network, nursery), owner, upstreams, keys, told)


async def test_they_are_read_once_and_then_known(autojump_clock, world):
    for _ in range(3):
        assert await world.find() == (public(OLD),)
    assert world.iam.calls == 1


async def test_without_a_kid_all_may_have_signed_up_to_a_bound(autojump_clock, world):
    world.iam.signers = SIGNERS[:3]
    assert await world.find(None) == tuple(map(public, SIGNERS[:3]))
    world.iam.signers = SIGNERS
    await trio.sleep(300)
    await world.find(None)
    await trio.testing.wait_all_tasks_blocked()
    assert len(await world.find(None)) == MOST_TRIED < len(SIGNERS)
    assert await world.find(SIGNERS[-1].kid) == (public(SIGNERS[-1]),)


async def test_two_keys_under_one_kid_may_both_have_signed(autojump_clock, world):
    world.iam.body = msgspec.json.encode({"keys": [OLD.jwk, {**NEW.jwk, "kid": OLD.kid}]})
    assert await world.find() == (public(OLD), public(NEW))


async def test_all_who_wait_wait_for_one_fetch_each_as_long_as_its_own_deadline_says(autojump_clock, world):
    world.iam.slow = 0.5
    came = {}

    async def wait(seconds):
        came[seconds] = (await world.find(seconds=seconds), trio.current_time())

    async with trio.open_nursery() as nursery:
        for seconds in (0.3, 0.8, 2.0):
            nursery.start_soon(wait, seconds)
    keys = (public(OLD),)
    assert came[0.8] == came[2.0] == (keys, 0.5)
    missed, at = came[0.3]
    assert (missed.reason, at) == (Reason.UPSTREAM_UNAVAILABLE, 0.25)  # in time to say so
    assert world.iam.calls == 1


async def test_a_waiter_who_is_cancelled_leaves_the_fetch_to_the_others(autojump_clock, world, nursery):
    world.iam.slow = 0.5
    impatient = trio.CancelScope()

    async def wait():
        with impatient:
            await world.find()

    nursery.start_soon(wait)
    await trio.sleep(0.1)
    impatient.cancel()
    assert await world.find() == (public(OLD),)
    assert world.iam.calls == 1


async def test_nothing_waits_for_iam_without_a_deadline(autojump_clock, world):
    with pytest.raises(Unbounded):
        await world.keys.find(OLD.kid)
    with pytest.raises(Unbounded):
        await world.keys.warm()


async def test_warm_they_are_known_before_the_first_request(autojump_clock, world):
    with within(1):
        assert await world.keys.warm() is None
        assert await world.keys.warm() is None
    world.iam.listening.close()
    assert await world.find() == (public(OLD),)
    assert world.iam.calls == 1


async def test_iam_down_before_they_were_ever_read_is_a_miss_and_no_answer(autojump_clock, world):
    """And never a refusal of the token: CONTRACT section 2."""
    with world.network.refuse("iam"):
        missed = await world.find()
        assert isinstance(missed, Missed)
        assert missed.problem("iam").code is Code.UPSTREAM_UNAVAILABLE
        assert world.dials == 3  # tried again, with pauses
        assert 0 < trio.current_time() < 0.5
        with within(1):
            assert isinstance(await world.keys.warm(), Missed)
    await trio.sleep(5)
    assert await world.find() == (public(OLD),)


async def test_iam_hanging_before_they_were_ever_read_is_unavailable_before_the_deadline(autojump_clock, world):
    world.iam.slow = 1e9
    assert (await world.find(seconds=0.8)).problem("iam").code is Code.UPSTREAM_UNAVAILABLE
    assert trio.current_time() == pytest.approx(0.75)
    assert (await world.find(seconds=60)).problem("iam").code is Code.UPSTREAM_UNAVAILABLE
    assert trio.current_time() <= 4.0  # the fetch has a deadline of its own
    world.iam.slow = 0
    assert await world.find() == (public(OLD),)


async def test_a_hiccup_of_iam_is_nobody_s_problem(autojump_clock, world):
    world.iam.statuses = [503]
    assert await world.find() == (public(OLD),)
    assert world.iam.calls == 2


async def test_what_iam_has_no_answer_to_is_not_asked_again_and_is_not_the_desk_s_404(autojump_clock, world):
    world.iam.statuses = [404, 404]
    assert (await world.find()).problem("iam").code is Code.UPSTREAM_UNAVAILABLE
    assert world.iam.calls == 1


async def test_an_open_breaker_says_when_to_come_back(autojump_clock, world):
    with world.network.refuse("iam"):
        await world.find()
        await world.find()
        dialled, missed = world.dials, await world.find()
    assert missed.problem("iam").code is Code.UPSTREAM_UNAVAILABLE
    assert 0 < missed.retry_after <= 5
    assert world.dials == dialled


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"<html>", "$"),
        (b"[]", "$"),
        (b"{}", "$.keys"),
        (b'{"keys":{}}', "$.keys"),
        (b'{"keys":[]}', "$.keys"),
        (b'{"keys":[],"keys":[]}', "$"),
        (b'{"keys":[null,1,"k",[]]}', "$.keys"),
    ],
)
async def test_a_set_with_nothing_to_use_is_drift_and_what_was_known_holds(autojump_clock, world, body, path):
    """F-15."""
    world.iam.body = body
    assert (await world.find()).problem("iam").code is Code.SCHEMA_DRIFT
    world.iam.body = None
    assert await world.find() == (public(OLD),)
    world.iam.body = body
    await trio.sleep(300)
    assert await world.find() == (public(OLD),)
    await trio.testing.wait_all_tasks_blocked()
    assert await world.find() == (public(OLD),)
    drifted = [fact for fact in world.told if isinstance(fact, SchemaDrifted)]
    assert [(fact.service, fact.operation, fact.path) for fact in drifted] == 2 * [("iam", "jwks", path)]


async def test_old_keys_are_renewed_behind_the_back_of_requests(autojump_clock, world):
    await world.find()
    world.iam.signers, world.iam.slow = [OLD, NEW], 1.0
    await trio.sleep(299)
    await world.find()
    await trio.testing.wait_all_tasks_blocked()
    assert world.iam.calls == 1
    await trio.sleep(1)
    for _ in range(5):
        assert await world.find() == (public(OLD),)
        assert trio.current_time() == 300  # nobody waited
        assert world.owner.live.count("iam.jwks refresh") == 1
    await trio.sleep(1.1)
    assert await world.find(NEW.kid) == (public(NEW),)
    assert world.iam.calls == 2


async def test_old_keys_are_kept_through_an_outage_and_iam_is_not_overrun(autojump_clock, world):
    """F-1: the session in hand holds."""
    await world.find()
    with world.network.refuse("iam"):
        await trio.sleep(300)
        dialled = world.dials
        for _ in range(5_900):
            assert await world.find() == (public(OLD),)
            await trio.sleep(0.1)
        assert world.dials - dialled <= 600 / 5 * 3
    assert trio.current_time() == pytest.approx(890)
    world.iam.signers = [NEW]
    await trio.sleep(6)
    await world.find()
    await trio.sleep(0.1)
    assert await world.find(OLD.kid) == ()


async def test_a_key_that_iam_has_just_begun_to_sign_with_is_found_by_all_who_bring_it(autojump_clock, world):
    await world.find()
    world.iam.signers, world.iam.slow, found = [OLD, NEW], 0.1, []

    async def bring():
        found.append(await world.find(NEW.kid))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(bring)
    assert found == 10 * [(public(NEW),)]
    assert world.iam.calls == 2


async def test_who_brings_a_new_key_while_another_s_question_flies_waits_for_its_answer(autojump_clock, world, nursery):
    await world.find()
    world.iam.signers, world.iam.slow = [OLD, NEW], 0.5
    with within(0.1):
        await world.keys.find("made up")
    assert await world.find(NEW.kid) == (public(NEW),)
    assert world.iam.calls == 2


async def test_made_up_kids_ask_iam_once_in_five_seconds(autojump_clock, world):
    await world.find()
    for n in range(100):
        assert await world.find(f"made up {n}") == ()
        await trio.sleep(0.1)
    assert world.iam.calls == 1 + 2
    assert trio.current_time() == pytest.approx(10)


async def test_an_unknown_kid_while_iam_is_down_is_unknown(autojump_clock, world):
    await world.find()
    with world.network.refuse("iam"):
        assert await world.find("made up") == ()


async def test_a_withdrawn_key_changes_the_edition_and_a_new_one_does_not(autojump_clock, world):
    async def reread(*signers):
        world.iam.signers = list(signers)
        await trio.sleep(300)
        world.keys.freshen()
        await trio.testing.wait_all_tasks_blocked()
        return world.keys.edition

    await world.find()
    first = world.keys.edition
    assert await reread(OLD) == first
    assert await reread(OLD, NEW) == first
    assert await reread(NEW) == first + 1
    assert await world.find(OLD.kid) == ()


async def test_where_background_work_has_no_room_old_keys_hold_and_none_are_a_miss(autojump_clock, world):
    async with open_owner("full", bound=0) as owner:
        full = Keys(world.upstreams, owner, entropy=bytes)
        with within(1):
            assert (await full.find(OLD.kid)).reason is Reason.UPSTREAM_UNAVAILABLE
            await world.find()
        world.keys._owner = world.keys._flight._owner = owner
        await trio.sleep(300)
        assert await world.find() == (public(OLD),)
        assert await world.find("made up") == ()
        world.keys._owner = world.keys._flight._owner = world.owner
        assert await world.find("made up as well") == ()
        assert world.iam.calls == 1


@pytest.mark.parametrize(
    "spoiled",
    [
        *({"kid": None}, {"kid": 7}, {"kty": "RSA"}, {"crv": "P-384"}, {"use": "enc"}, {"alg": "ES384"}),
        *({"x": NEW.jwk["y"]}, {"y": ""}, {"d": NEW.jwk["x"]}),
    ],
    ids=str,
)
def test_a_key_that_is_of_no_use_here_is_passed_over(spoiled):
    other = {**NEW.jwk, **spoiled}
    keys = read_keys(msgspec.json.encode({"keys": [other, OLD.jwk]}))
    assert [[key.thumbprint for key in alike] for alike in keys.values()] == [[OLD.kid]]
    assert isinstance(read_keys(msgspec.json.encode({"keys": [other]})), Drift)


Json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*OLD.jwk, "keys"]), inner, max_size=3),
)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=30) | Json.map(lambda jwk: msgspec.json.encode({"keys": [{**OLD.jwk, "x": 1}, jwk]})))
def test_whatever_iam_answers_it_is_keys_or_drift(body):
    assert isinstance(read_keys(body), Drift)
