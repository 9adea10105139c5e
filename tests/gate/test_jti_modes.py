"""However the session tier remembers proofs, whatever becomes of it meanwhile, none is accepted twice (F-28, F-41)."""

from contextlib import ExitStack

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bff.facts import ReplayBlocked
from bff.facts.cost import JtiMemorySeen
from bff.gate.ladder import Demands, Pass, climb
from bff.gate.proof import WINDOW
from bff.gate.rungs import REMEMBERED, SLACK
from bff.model import Down
from bff.stores.jti import GENERATION, MODES, Filter
from bff.stores.tier import Presented
from bff.wire.asgi import Request
from bff.wire.trace import ServerTiming
from chaos.hotel.fleet.proof import make_proof
from chaos.hotel.stores.tier import SimTier
from chaos.hotel.world import open_world
from nurseries import within

KEY = "k" * 43
FILTER = Filter(bits=2**22)


class Doors:
    """A tier, and before it as many servers as it takes: none has a window of its own that would help.

    `accepted` are proofs by their number: when each was made, and when the tier called it fresh.
    """

    def __init__(self):
        self.tier = SimTier(FILTER)
        self.accepted = {}
        self.nonces = 0

    async def show(self, number, issued_at):
        """Whether the tier calls it fresh, under a nonce that it has never heard; None where it cannot say."""
        self.nonces += 1
        holds = issued_at + WINDOW - trio.current_time() + SLACK
        with within(1):
            proof = Presented(None, None, KEY, f"jti-{number}", f"nonce-{self.nonces}", REMEMBERED, holds)
            standing = await self.tier.present(proof)
        return None if isinstance(standing, Down) else standing.fresh

    async def new(self, skew):
        now, number = trio.current_time(), self.nonces
        if await self.show(number, now + skew):
            self.accepted[number] = (now + skew, now)

    async def turn(self, mode):
        with within(1):
            memory = await self.tier.jti_memory()
            if not isinstance(memory, Down):
                await self.tier.remember_jtis(mode, instead_of=memory.mode)

    async def fail_over(self, lost, takes):
        """What the standby has not got it never knew: what passes again for it is counted by others."""
        now = trio.current_time()
        self.tier.failover(lost=lost, takes=takes)
        self.accepted = {name: (made, at) for name, (made, at) in self.accepted.items() if now - at >= lost}
        await trio.sleep(takes)

    async def look(self):
        """Every proof that still holds is shown once more, elsewhere."""
        for number, (issued_at, _) in self.accepted.items():
            if abs(trio.current_time() - issued_at) <= WINDOW:
                assert await self.show(number, issued_at) is not True, "let in twice"


STEPS = st.one_of(
    st.tuples(st.just("new"), st.sampled_from([-50.0, 0.0, 60.0])),
    st.tuples(st.just("turn"), st.sampled_from(MODES)),
    st.tuples(st.just("fail_over"), st.sampled_from([0.0, 1.0, 20.0]), st.sampled_from([0.0, 2.0])),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 9.0, 11.0, 40.0, 55.0, GENERATION])),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(MODES), st.lists(STEPS, min_size=4, max_size=25))
def test_no_turn_rotation_or_failover_lets_a_proof_in_that_is_known_f28_f41(simulate, first, history):
    async def main():
        doors = Doors()
        await doors.turn(first)
        for word, *told in history:
            await (trio.sleep if word == "wait" else getattr(doors, word))(*told)
            await doors.look()

    simulate(main)


async def passes(world, desk, server, proof):
    """Whether a server's gate lets whoever has the desk's token pass with this proof."""
    headers = {
        "host": "one",
        "authorization": f"DPoP {desk.session.access_token}",
        "dpop": proof,
        "x-device-id": desk.device,
    }
    raw = tuple((name.encode(), value.encode()) for name, value in headers.items())
    request = Request("GET", "/v1/session", "", raw, "http", "192.0.2.1")
    with within(2.0), ExitStack() as stay:
        said = await climb(world.servers[server].house.gate, request, Demands(), stay=stay, timing=ServerTiming())
    return isinstance(said, Pass)


@pytest.mark.parametrize("mode", MODES)
async def test_in_every_mode_desks_sign_in_and_look_and_a_stolen_proof_is_turned_away_elsewhere_f28_f41(
    autojump_clock, mode
):
    async with open_world(servers=("one", "two")) as world:
        with within(1):
            if mode != "exact":
                assert await world.stores.tier.remember_jtis(mode, instead_of="exact") is True
        desk = await world.desk(server="one")
        for _ in range(3):
            await desk.dashboard()
            await trio.sleep(5)
        token = desk.session.access_token
        proof = make_proof(desk.key, "GET", "http://one/v1/session", token=token, now=world.now(), jti="stolen")
        assert not [fact for fact in world.facts if isinstance(fact, ReplayBlocked)]
        assert await passes(world, desk, "one", proof)
        await trio.sleep(30)
        assert not await passes(world, desk, "two", proof)
        blocked = [fact.by for fact in world.facts if isinstance(fact, ReplayBlocked)]
        assert blocked == ["bloom" if mode == "bloom" else "tier"]
        assert [fact.mode for fact in world.facts if isinstance(fact, JtiMemorySeen)][-1] == mode


async def test_a_failover_in_the_mode_bloom_counts_no_replay_where_there_was_none_f19_f41(autojump_clock):
    """What was accepted just before is shown again under its nonce, which the tier keeps for long enough."""
    async with open_world() as world:
        with within(1):
            assert await world.stores.tier.remember_jtis("bloom", instead_of="exact") is True
        desk = await world.desk()
        for _ in range(5):
            await desk.dashboard()
        world.inject("redis-session", "failover takes=2")
        await trio.sleep(10)
        told = {type(fact).__name__ for fact in world.facts}
        assert "Recounted" in told
        assert "ReplayPassed" not in told and "RecountSkipped" not in told
