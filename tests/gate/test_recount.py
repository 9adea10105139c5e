"""What passed twice while the session tier could not tell is counted when it can, and nothing else is (F-28)."""

from collections import Counter
from contextlib import ExitStack, asynccontextmanager

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bff.facts import Recounted, RecountSkipped, ReplayBlocked, ReplayPassed
from bff.gate.ladder import Demands, Knocked, Pass, climb, knock
from bff.gate.recount import BATCH, LOOK, MEET, PATIENCE, PAUSE, TAIL, Recount
from bff.gate.rungs import REMEMBERED
from bff.model import Down
from bff.stores.tier import Presented, Standing
from bff.wire.asgi import Request
from bff.wire.trace import ServerTiming
from chaos.hotel.fleet.proof import make_proof
from chaos.hotel.stores.tier import SimTier
from chaos.hotel.world import open_world
from nurseries import Unbounded, listening, open_owner, within

CALM = 3 * LOOK  # seconds in which few are looked after and recounted


# -- three servers, a desk, and a thief who shows its proofs elsewhere ---------------------------------------------


class Hotel:
    """Requests of one desk, each with the proof called `jti`, climbing the gate of any server."""

    def __init__(self, world, desk):
        self.world = world
        self.tier = world.stores.tier
        self.desk = desk
        self.requests = {}
        self.since = len(world.facts)

    def request(self, jti):
        if jti not in self.requests:
            token, url = self.desk.session.access_token, "http://one/v1/session"
            proof = make_proof(self.desk.key, "GET", url, token=token, now=self.world.now(), jti=jti)
            headers = {"host": "one", "authorization": f"DPoP {token}", "dpop": proof, "x-device-id": self.desk.device}
            raw = tuple((name.encode(), value.encode()) for name, value in headers.items())
            self.requests[jti] = Request("GET", "/v1/session", "", raw, "http", "192.0.2.1")
        return self.requests[jti]

    async def passes(self, server, jti, **demands):
        gate = self.world.servers[server].house.gate
        with within(2.0), ExitStack() as stay:
            said = await climb(gate, self.request(jti), Demands(**demands), stay=stay, timing=ServerTiming())
        return isinstance(said, Pass)

    async def first_counted(self):
        event = trio.Event()
        with listening(lambda fact: isinstance(fact, ReplayPassed) and event.set()):
            await event.wait()

    def counted(self):
        return sum(fact.count for fact in self.told(ReplayPassed))

    def shown(self):
        return sum(fact.count for fact in self.told(Recounted))

    def skipped(self):
        return [(fact.why, fact.count) for fact in self.told(RecountSkipped)]

    def told(self, kind):
        return [fact for fact in self.world.facts[self.since :] if isinstance(fact, kind)]


@asynccontextmanager
async def open_hotel(*servers):
    async with open_world(servers=servers) as world:
        desk = await world.desk(server="one")
        await trio.sleep(2 * TAIL)  # its own proof is behind us
        yield Hotel(world, desk)


async def status(world, server, headers):
    """Of one request as a thief writes it: to `server`, and with the Host that the proof is bound to."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with within(5.0):
        async with await world.network.connect(server, 80, None) as stream:
            await stream.send_all(f"GET /v1/session HTTP/1.1\r\n{fields}connection: close\r\n\r\n".encode())
            answer = b"".join([piece async for piece in stream])
            return int(answer.split()[1])


async def test_a_read_replayed_at_another_instance_while_the_tier_is_down_is_counted_when_it_is_back_f28(
    autojump_clock,
):
    """Over HTTP, and what Security is shown: the fact, and the metric of the instance that found out."""
    async with open_world(servers=("one", "two")) as world:
        desk = await world.desk(server="one")
        world.stores.tier.down()
        token = desk.session.access_token
        proof = make_proof(desk.key, "GET", "http://one/v1/session", token=token, now=world.now(), jti="stolen")
        stolen = {"host": "one", "dpop": proof, "authorization": f"DPoP {token}", "x-device-id": desk.device}
        statuses = [await status(world, server, stolen) for server in ("one", "two", "two", "one")]
        assert statuses == [200, 200, 401, 401]
        await trio.sleep(10)
        assert not [fact for fact in world.facts if isinstance(fact, ReplayPassed)]
        world.stores.tier.start()
        await trio.sleep(CALM)
        assert [fact for fact in world.facts if isinstance(fact, ReplayPassed)] == [ReplayPassed(1)]
        assert [fact for fact in world.facts if isinstance(fact, RecountSkipped)] == []
        assert await status(world, "two", stolen) == 401


async def test_of_n_acceptances_of_one_proof_n_less_one_are_counted_f28(autojump_clock):
    async with open_hotel("one", "two", "three") as hotel:
        hotel.tier.down()
        assert [await hotel.passes(server, "a") for server in ("one", "two", "three")] == [True] * 3
        assert [await hotel.passes(server, "b") for server in ("two", "three")] == [True] * 2
        assert await hotel.passes("two", "honest")
        hotel.tier.start()
        await trio.sleep(CALM)
        assert hotel.counted() == 3
        await trio.sleep(60)
        hotel.tier.failover(lost=5)
        await trio.sleep(CALM)
        assert hotel.counted() == 3  # each once


async def test_one_that_passed_while_the_tier_was_down_and_again_when_it_was_back_is_counted_f28(autojump_clock):
    async with open_hotel("one", "two") as hotel:
        hotel.tier.down()
        assert await hotel.passes("one", "stolen")
        hotel.tier.start()
        assert await hotel.passes("two", "stolen")  # before the recount
        await trio.sleep(CALM)
        assert hotel.counted() == 1


async def test_once_it_is_recounted_a_proof_is_refused_everywhere_f28(autojump_clock):
    async with open_hotel("one", "two") as hotel:
        hotel.tier.down()
        assert await hotel.passes("one", "stolen")
        hotel.tier.start()
        await trio.sleep(CALM)
        assert not await hotel.passes("two", "stolen")
        assert hotel.counted() == 0
        assert [fact.by for fact in hotel.told(ReplayBlocked)] == ["tier"]


@pytest.mark.parametrize("replayed_at", [0.0, 20.0])
async def test_what_a_failover_lost_is_shown_again_and_who_was_faster_is_counted_f19_f28(autojump_clock, replayed_at):
    """At once the thief is faster than the recount; later the standby knows the proof again, and refuses him."""
    async with open_hotel("one", "two", "three") as hotel:
        assert await hotel.passes("one", "stolen")
        assert not await hotel.passes("three", "stolen")
        await trio.sleep(2)
        assert hotel.tier.failover(lost=4) == 1
        await trio.sleep(replayed_at)
        assert await hotel.passes("two", "stolen") == (replayed_at == 0.0)
        await trio.sleep(CALM)
        assert hotel.counted() == (replayed_at == 0.0)


async def test_what_was_recounted_may_be_lost_again_and_is_shown_again_f19(autojump_clock):
    async with open_hotel("one", "two") as hotel:
        hotel.tier.down()
        assert await hotel.passes("one", "stolen")
        hotel.tier.start()
        await trio.sleep(CALM)
        assert hotel.tier.failover(lost=4) == 1
        await trio.sleep(CALM)
        assert hotel.counted() == 0
        assert not await hotel.passes("two", "stolen")


async def test_a_mutation_that_a_failover_forgot_is_counted_too_f19(autojump_clock):
    """Rung 7 asks whether the tier answers; what it answers after it lost its tail is not the tier's to know."""
    async with open_hotel("one", "two") as hotel:
        assert await hotel.passes("one", "stolen", tier=True)
        hotel.tier.failover(lost=1)
        assert await hotel.passes("two", "stolen", tier=True)
        await trio.sleep(CALM)
        assert hotel.counted() == 1


async def test_what_rung_7_turned_away_has_not_passed_f28(autojump_clock):
    """Mutations never: a proxy that asks the next instance after a 503 is no thief, and is counted by nobody."""
    async with open_hotel("one", "two") as hotel:
        hotel.tier.down()
        assert not await hotel.passes("one", "mutation", tier=True)
        assert not await hotel.passes("two", "mutation", tier=True)
        hotel.tier.start()
        await trio.sleep(CALM)
        assert (hotel.counted(), hotel.shown()) == (0, 0)


async def test_an_answer_that_came_too_late_had_recorded_the_proof_and_is_no_replay_f28(autojump_clock):
    async with open_hotel("one") as hotel:
        hotel.tier.latency(0.3)
        assert await hotel.passes("one", "slow")
        hotel.tier.latency(0.0)
        await trio.sleep(CALM)
        assert (hotel.shown(), hotel.counted()) == (1, 0)


async def test_signing_in_twice_by_one_proof_is_counted_too_f28(autojump_clock):
    async with open_hotel("one", "two") as hotel:
        hotel.tier.down()
        proof = make_proof(hotel.desk.key, "POST", "http://one/v1/session", now=hotel.world.now(), jti="j", token=None)
        request = Request("POST", "/v1/session", "", ((b"host", b"one"), (b"dpop", proof.encode())), "http", "::1")
        for server in ("one", "two"):
            with within(2.0), ExitStack() as stay:
                gate = hotel.world.servers[server].house.gate
                assert isinstance(await knock(gate, request, stay=stay, timing=ServerTiming()), Knocked)
        hotel.tier.start()
        await trio.sleep(CALM)
        assert hotel.counted() == 1


async def test_a_recount_that_the_tier_interrupts_goes_on_when_it_is_back_f18(autojump_clock):
    async with open_hotel("one", "two") as hotel:
        hotel.tier.down()
        jtis = [str(number) for number in range(4 * BATCH)]
        for jti in jtis:
            assert [await hotel.passes(server, jti) for server in ("one", "two")] == [True, True]
        hotel.tier.start()
        await hotel.first_counted()
        hotel.tier.down()
        await trio.sleep(CALM)
        assert 0 < hotel.counted() < len(jtis)
        hotel.tier.start()
        await trio.sleep(CALM)
        assert hotel.counted() == len(jtis)


async def test_an_outage_longer_than_any_proof_lives_hides_no_replay_and_says_what_is_in_doubt_f28(autojump_clock):
    """What passed on two instances meets in the tier. What that knew before it went is gone by then, and so said."""
    async with open_hotel("one", "two") as hotel:
        assert await hotel.passes("one", "before")
        await trio.sleep(2 * TAIL)
        hotel.tier.down()
        assert await hotel.passes("two", "before")  # nobody will know
        assert [await hotel.passes(server, "during") for server in ("one", "two")] == [True, True]
        await trio.sleep(2 * REMEMBERED)
        assert hotel.skipped() == []
        hotel.tier.start()
        await trio.sleep(CALM)
        assert hotel.counted() == 1
        assert sum(count for why, count in hotel.skipped() if why == "too late") == 2  # `before` and `during`, unmet


async def test_a_server_that_ends_says_what_it_still_owes_f28(autojump_clock):
    async with open_hotel("one", "two") as hotel:
        hotel.tier.down()
        for number in range(3):
            assert await hotel.passes("two", str(number))
        await trio.sleep(CALM)
        assert hotel.skipped() == []
        await hotel.world.servers["two"].end()
        assert hotel.skipped() == [("the server ended", 3)]


# -- any history -----------------------------------------------------------------------------------------------------

STEPS = st.one_of(
    st.tuples(st.just("accept"), st.sampled_from(["one", "two", "three"]), st.sampled_from("abcd")),
    st.tuples(st.just("accept"), st.sampled_from(["one", "two", "three"]), st.sampled_from("abcd")),
    st.tuples(st.sampled_from(["down", "start", "stop"])),
    st.tuples(st.just("failover"), st.sampled_from([0.0, 0.5, 4.0]), st.sampled_from([0.0, 1.5])),
    st.tuples(st.just("latency"), st.sampled_from([0.0, 0.06, 0.15])),
    st.tuples(st.just("wait"), st.sampled_from([0.01, 0.12, LOOK, LOOK + 0.3])),
)


def check(simulate, history):
    async def main():
        async with open_hotel("one", "two", "three") as hotel:
            accepted = Counter()
            for word, *told in history:
                if word == "accept":
                    accepted[told[1]] += await hotel.passes(*told)
                elif word == "wait":
                    await trio.sleep(*told)
                elif word == "failover":
                    hotel.tier.failover(lost=told[0], takes=told[1])
                else:
                    getattr(hotel.tier, word)(*told)
            hotel.tier.clear()
            await trio.sleep(2 * TAIL)
            assert hotel.counted() == sum(times - 1 for times in accepted.values() if times)
            assert hotel.skipped() == []

    simulate(main)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, max_size=20))
def test_whatever_happens_to_the_tier_all_that_passed_twice_is_counted_and_nothing_else_f19_f28(simulate, history):
    check(simulate, history)


@pytest.mark.soak
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, max_size=40))
def test_in_long_histories_too_all_that_passed_twice_is_counted_and_nothing_else_f19_f28(simulate, history):
    check(simulate, history)


# -- the memory itself -----------------------------------------------------------------------------------------------


def presented(jti, nonce="n"):
    return Presented("resort", "s-1", "k" * 43, jti, f"{nonce}-{jti}", REMEMBERED)


class Asked(SimTier):
    """The simulated tier, and what it was shown."""

    def __init__(self):
        super().__init__()
        self.shown = []

    async def present(self, proof):
        self.shown.append((trio.current_time(), proof))
        return await super().present(proof)


@asynccontextmanager
async def recounting(tier, **bound):
    facts = []
    with listening(facts.append):
        async with open_owner("test", bound=1) as owner:
            recount = Recount(tier, **bound)
            owner.start(recount.serve, name="recount")
            yield recount, facts


async def test_a_proof_is_shown_under_its_own_nonce_for_the_rest_of_its_time_and_asks_for_no_session(autojump_clock):
    tier = Asked()
    async with recounting(tier) as (recount, _):
        tier.down()
        recount.accepted(presented("a"), Down("x"), 0)
        await trio.sleep(10.2)
        tier.start()
        tier.shown.clear()
        await trio.sleep(LOOK)
        (at, proof), *_ = tier.shown
        assert (proof.jti, proof.nonce, proof.tenant, proof.session) == ("a", "n-a", None, None)
        assert proof.ttl == pytest.approx(REMEMBERED - at)


async def test_a_proof_that_is_nearly_over_is_there_long_enough_to_be_met(autojump_clock):
    tier = Asked()
    async with recounting(tier) as (recount, _):
        tier.down()
        recount.accepted(presented("a"), Down("x"), 0)
        await trio.sleep(REMEMBERED - 1)
        tier.start()
        tier.shown.clear()
        await trio.sleep(LOOK)
        assert tier.shown[0][1].ttl == MEET


async def test_many_are_shown_in_batches_and_while_the_tier_is_down_one_is_shown_each_second(autojump_clock):
    tier = Asked()
    async with recounting(tier) as (recount, facts):
        tier.down()
        for number in range(3 * BATCH):
            recount.accepted(presented(str(number)), Down("x"), 0)
        await trio.sleep(10.5 * LOOK)
        assert len(tier.shown) == pytest.approx(BATCH + 9, abs=2)
        assert recount.owed == 3 * BATCH
        tier.start()
        tier.shown.clear()
        await trio.sleep(2 * LOOK)
        by_moment = Counter(round(at / PAUSE) for at, _ in tier.shown)
        assert max(by_moment.values()) == BATCH
        assert {proof.jti for _, proof in tier.shown} == {str(number) for number in range(3 * BATCH)}
        assert recount.owed == 0
        assert not [fact for fact in facts if isinstance(fact, ReplayPassed)]


async def test_a_tier_that_hangs_holds_the_recount_up_for_no_longer_than_its_patience_f18(autojump_clock):
    class Silent(Asked):
        async def present(self, proof):
            self.shown.append((trio.current_time(), proof))
            await trio.sleep_forever()

    tier = Silent()
    async with recounting(tier) as (recount, _):
        recount.accepted(presented("a"), Down("x"), 0)
        await trio.sleep(10 * (LOOK + PATIENCE))
        assert [at for at, _ in tier.shown] == pytest.approx([LOOK + n * (LOOK + PATIENCE) for n in range(10)], abs=1)
        assert recount.owed == 1


async def test_what_is_too_much_to_remember_is_told_when_the_rest_is_counted_f41(autojump_clock):
    tier = SimTier()
    async with recounting(tier, bound=10) as (recount, facts):
        tier.down()
        for number in range(15):
            recount.accepted(presented(str(number)), Down("x"), 0)
        await trio.sleep(CALM)
        assert facts.count(RecountSkipped("too many", 5)) == 0
        tier.start()
        await trio.sleep(CALM)
        assert facts.count(RecountSkipped("too many", 5)) == 1
        await trio.sleep(CALM)
        assert len([fact for fact in facts if isinstance(fact, RecountSkipped)]) == 1


async def test_a_tail_that_is_owed_all_at_once_fills_what_room_there_is_and_says_what_was_left_out_f41(autojump_clock):
    tier = SimTier()
    async with recounting(tier, bound=10) as (recount, facts):
        with within(1):
            await tier.ping()
        await trio.sleep(LOOK + 0.1)
        for number in range(8):
            recount.accepted(presented(str(number)), Standing(True, False, None, None), 1)
        for number in range(8, 12):
            recount.accepted(presented(str(number)), Down("x"), 1)
        assert recount.owed == 4
        tier.failover()
        await trio.sleep(CALM)
        assert recount.owed == 0
        assert [fact for fact in facts if isinstance(fact, RecountSkipped)] == [RecountSkipped("too many", 2)]


async def test_what_the_tier_acknowledged_long_ago_is_forgotten_though_no_request_comes_f19(autojump_clock):
    tier = Asked()
    async with recounting(tier) as (recount, _):
        with within(1):
            await tier.ping()
        await trio.sleep(LOOK + 0.1)
        recount.accepted(presented("a"), Standing(True, False, None, None), 1)
        await trio.sleep(TAIL + 2 * LOOK)
        tier.failover()
        await trio.sleep(CALM)
        assert tier.shown == []


async def test_while_the_tier_is_silent_nobody_knows_when_it_died_and_the_tail_is_kept_f19(autojump_clock):
    tier = Asked()
    async with recounting(tier) as (recount, _):
        with within(1):
            await tier.ping()
        await trio.sleep(LOOK + 0.1)
        recount.accepted(presented("a"), Standing(True, False, None, None), 1)
        tier.down()
        await trio.sleep(3 * TAIL)
        tier.start()
        await trio.sleep(CALM)
        assert {proof.jti for _, proof in tier.shown} == {"a"}


async def test_an_acknowledgement_over_a_line_that_is_no_more_is_worth_nothing_f19(autojump_clock):
    """It was acknowledged, the tier failed over, somebody else was answered, and then it was this request's turn."""
    tier = SimTier()
    async with recounting(tier) as (recount, _):
        for _ in range(2):
            with within(1):
                await tier.ping()
            tier.failover()
        recount.accepted(presented("a"), Standing(True, False, None, None), 1)
        assert recount.owed == 1


async def test_a_tier_that_wants_a_deadline_gets_one_f33(autojump_clock):
    """Both verbs that are asked from the background raise without one: that none is told is no accident."""
    tier = SimTier()
    with pytest.raises(Unbounded):
        await tier.ping()
    async with recounting(tier) as (recount, facts):
        recount.accepted(presented("a"), Standing(True, False, None, None), 0)
        recount.accepted(presented("b"), Down("x"), 0)
        await trio.sleep(CALM)
        assert Recounted(1) in facts or Recounted(2) in facts
