"""Equal proofs at once, under every schedule (F-28); and a server that judges them in two steps, which is found."""

import re
from functools import partial

import pytest
import trio

from bff.gate.replay import ReplayWindow, Verdict
from bff.model import Down
from chaos.choices import Replayed, walk
from chaos.hotel.stores.tier import SimTier
from chaos.hotel.sweeps.race import Held, Race, judge, open_track
from chaos.hotel.sweeps.replays import LAGS, SHRUNK, SOME, ReplayCase, ReplaySweep
from chaos.sim.clock import simulate

SWEEP = ReplaySweep()
NEAR = Race("ladder", 2, 2, 3)  # one comes in the very step in which the other is noted, three after he was looked for


@pytest.fixture(scope="module", autouse=True)
def walked():
    """The schedules are those of the server as it is: they are looked for once, before a test breaks it."""
    return SWEEP.cases(pairs=False)


def cases_of(*races):
    return [case for case in SWEEP.cases(pairs=False) if case.race in races]


def test_of_equal_proofs_at_once_exactly_one_is_accepted_under_every_schedule_f28(account_of):
    cases = SWEEP.cases(pairs=False)
    account = account_of(SWEEP, cases, seed=2, whole=True)
    assert (account.broken, account.missing) == ((), ())
    assert account.cases == len(cases) > 1000


@pytest.mark.soak
def test_far_more_schedules_by_the_command_on_all_cores_f28(by_command, on_all_cores):
    code, said = by_command("replays", "--pairs", *on_all_cores)
    assert code == 0, said
    assert f"{len(SWEEP.cases(pairs=True))} cases, 0 broken" in said


@pytest.mark.parametrize("servers", [1, 2])
@pytest.mark.parametrize("lag", LAGS)
def test_of_two_proofs_at_the_ladder_no_schedule_is_left_out(servers, lag):
    race = Race("ladder", servers, 2, lag)
    held = Held()

    async def main():
        async with open_track(0, held, "ladder") as track:
            schedules = 0
            for choices in walk(10 * SOME):
                await track.run(race, choices)
                schedules += 1
            return schedules

    assert len(cases_of(race)) == simulate(main, choices=held) < SOME


def test_two_that_are_too_far_apart_to_meet_have_nothing_left_to_decide_but_who_steps_first():
    """Beyond the lags that are swept there is nothing new: whoever comes later finds the first one done."""
    held = Held()

    async def decided(lag):
        async with open_track(0, held, "ladder") as track:
            return await track.said(Race("ladder", 2, 2, lag), Replayed(()))

    assert simulate(partial(decided, LAGS[-1] + 1), choices=held) == [(0, "200"), (1, "401 DPOP_INVALID")]


@pytest.mark.parametrize(
    ("trouble", "said", "why"),
    [
        ("", [(0, "200"), (1, "200")], "2 of 2 equal proofs accepted"),
        ("", [(0, "401 DPOP_INVALID")] * 2, "nobody was accepted"),
        ("", [(0, "200"), (1, "503 STORE_UNAVAILABLE")], "told 503 STORE_UNAVAILABLE"),
        ("", [(0, "200")], "2 came, and 1 were told something"),
        ("down", [(1, "200"), (1, "200")], "2 of 2 equal proofs accepted"),
    ],
)
def test_the_judge_says_what_is_wrong(trouble, said, why):
    with pytest.raises(AssertionError, match=why):
        judge(Race("wire", 2, 2, 0, trouble, 1), said)


def test_with_the_tier_gone_each_server_may_accept_a_proof_once_f18_f28():
    judge(Race("wire", 2, 2, 0, "down", 1), [(0, "200"), (1, "200")])


# -- a race is found -------------------------------------------------------------------------------------------------


async def check_then_act(self, proof):
    """What `SimTier.present` must not be: it looks, and notes it a step later."""
    name = (proof.jkt, proof.jti)
    known = self._proofs._keys.get(name)
    await trio.lowlevel.checkpoint()
    standing = await self.asked(lambda: self._present(proof))
    if isinstance(standing, Down) or known is not None:
        return standing
    return type(standing)(True, standing.revoked, standing.tenant_status, standing.blob)


def test_a_tier_that_looks_first_and_notes_later_is_found_and_the_schedule_shrunk_to_its_fewest_decisions_f28(
    account_of, by_command, monkeypatch
):
    cases = cases_of(NEAR)
    assert account_of(SWEEP, cases).broken == ()
    monkeypatch.setattr(SimTier, "present", check_then_act)
    broken = account_of(SWEEP, cases).broken
    assert broken
    assert all("2 of 2 equal proofs accepted" in ran.error for ran in broken)
    fewest = [re.search("the fewest decisions: (.+)$", ran.error).group(1) for ran in broken[:SHRUNK]]
    assert {decisions(name) for name in fewest} == {1}, fewest
    name = fewest[0]
    code, said = by_command("replays", "--case", name)
    assert code == 1
    assert said.startswith(f"broken: {name}\n  AssertionError: 2 of 2 equal proofs accepted")
    monkeypatch.undo()
    assert by_command("replays", "--case", name) == (0, f"ok: {name}\n")


def decisions(name):
    """How many are not the plain one."""
    return sum(choice != "0" for choice in name.rsplit(" by ", 1)[1].split("."))


def test_a_server_that_forgets_what_it_has_accepted_is_found_where_the_tier_fails_f28(account_of, monkeypatch):
    monkeypatch.setattr(ReplayWindow, "claim", lambda *_: Verdict.FRESH)
    race = Race("ladder", 1, 2, 0, "down", 1)
    broken = account_of(SWEEP, cases_of(race)).broken
    assert broken
    assert all("equal proofs accepted" in ran.error for ran in broken)
    assert account_of(SWEEP, cases_of(Race("ladder", 1, 2, 0))).broken == (), "while it stands, the tier refuses"


def test_a_drawn_schedule_that_breaks_is_told_as_the_few_decisions_that_do_f28(account_of, monkeypatch):
    monkeypatch.setattr(SimTier, "present", check_then_act)
    cases = [ReplayCase(Race("wire", 2, 4), seed) for seed in range(2)]
    broken = account_of(SWEEP, cases).broken
    assert broken
    assert all(re.search(r"fewest decisions: 4 at wire 2 lag 0 by [0-9.]+$", ran.error) for ran in broken)
