"""How tenants stand: whose word counts, who is asked and when, and that no request waits for it."""

import pytest
import trio
import trio.testing

from bff.gate import standing as subject
from bff.gate.ladder import Pass
from bff.gate.standing import Ended
from bff.model import Down, SessionId, TenantId
from bff.problem import Problem
from bff.upstreams.client import Journey
from bff.wire.trace import ServerTiming, Trace
from chaos.toxics import split
from nurseries import within

PATH = "/v1/dashboard"


@pytest.fixture
async def looking(world):
    """Look at the dashboard once; what the ladder says, as a word."""
    desk = world.desk()

    async def look():
        said = await world.climb(world.head("GET", PATH, desk.head("GET", PATH, desk.token())))
        return said.code.word if isinstance(said, Problem) else "in"

    return look


def asked(world):
    return world.tenant.service.counts["status"].calls


async def kept(world, tenant="resort"):
    with within(1.0):
        return await world.tier.set_tenant_status(tenant, "suspended")


async def test_an_unknown_tenant_counts_as_active_and_is_asked_about_behind_the_request(autojump_clock, world, looking):
    world.tenant.inject(split("latency ms=300"))
    began = trio.current_time()
    assert await looking() == "in"
    assert trio.current_time() == began
    await trio.sleep(0.5)
    assert (asked(world), world.tier._status) == (1, {"resort": "active"})


async def test_a_tenant_that_is_suspended_is_met_once_it_is_known_and_let_in_again_afterwards(
    autojump_clock, world, looking
):
    await looking()
    await trio.testing.wait_all_tasks_blocked()
    world.tenants_themselves.stand("resort", "suspended")
    world.tenant.service.changed()
    assert await looking() == "in"
    await trio.sleep(subject.ASK_AGAIN)
    assert await looking() == "in"  # and asks
    await trio.testing.wait_all_tasks_blocked()
    assert await looking() == "TENANT.SUSPENDED"
    world.tenants_themselves.stand("resort", "active")
    world.tenant.service.changed()
    await trio.sleep(subject.ASK_AGAIN)
    assert await looking() == "TENANT.SUSPENDED"
    await trio.testing.wait_all_tasks_blocked()
    assert await looking() == "in"


async def test_the_tier_s_word_counts_at_the_very_next_request_whoever_gave_it(autojump_clock, world, looking):
    await looking()
    await trio.testing.wait_all_tasks_blocked()
    await kept(world)
    assert await looking() == "TENANT.SUSPENDED"


async def test_the_last_known_state_holds_while_the_tier_is_down_f18(autojump_clock, world, looking):
    await kept(world)
    assert await looking() == "TENANT.SUSPENDED"
    await trio.testing.wait_all_tasks_blocked()
    await world.tenant_stands("suspended")
    world.tier.down()
    world.tenant.inject(split("down"))
    assert await looking() == "TENANT.SUSPENDED"


async def test_one_tenant_s_standing_is_no_other_s(autojump_clock, world):
    await kept(world, "city")
    desk = world.desk()
    said = await world.climb(world.head("GET", PATH, desk.head("GET", PATH, desk.token())))
    assert isinstance(said, Pass)


async def test_however_many_come_tenant_service_is_asked_once_a_minute(autojump_clock, world, looking):
    world.tenant.inject(split("latency ms=200"))
    async with trio.open_nursery() as nursery:
        for _ in range(30):
            nursery.start_soon(looking)
    await trio.sleep(1)
    for _ in range(10):
        await looking()
    assert asked(world) == 1
    await trio.sleep(subject.ASK_AGAIN)
    await looking()
    await trio.sleep(1)
    assert asked(world) == 2


async def test_while_it_does_not_answer_it_is_asked_now_and_then_and_what_is_known_holds(
    autojump_clock, world, looking
):
    world.tenant.inject(split("status code=503"))
    for _ in range(20):
        assert await looking() == "in"
        await trio.sleep(1)
    assert asked(world) == 20 / subject.TRY_AGAIN


async def test_a_tier_that_forgot_is_told_again(autojump_clock, world, looking):
    await looking()
    await trio.testing.wait_all_tasks_blocked()
    world.tier._status.clear()
    await trio.sleep(subject.TRY_AGAIN)
    await looking()
    await trio.testing.wait_all_tasks_blocked()
    assert world.tier._status == {"resort": "active"}


async def test_an_answer_about_another_tenant_says_nothing_f30(autojump_clock, world, looking):
    world.tenant.inject(split("wrong-tenant"))
    await looking()
    await trio.testing.wait_all_tasks_blocked()
    assert world.tier._status == {}


async def test_a_question_that_hangs_is_given_up_and_nothing_is_left_of_it(autojump_clock, world, looking):
    world.tenant.inject(split("hang"))
    await looking()
    await trio.testing.wait_all_tasks_blocked()
    assert world.owner.live
    await trio.sleep(subject.ASK_SECONDS + 0.1)
    assert world.owner.live == ()


async def test_who_asks_and_waits_is_told_in_time_by_whoever_can(autojump_clock, world):
    resort = TenantId("resort")
    journey = Journey(Trace.parse(None, world.entropy), ServerTiming(), resort)
    world.tier.stop()
    world.tenants_themselves.stand("resort", "suspended")
    began = trio.current_time()
    with within(5):
        assert await world.gate.tenants.ask(resort, Down("x"), journey, seconds=0.2)
        assert trio.current_time() == began  # keeping it is nobody's to wait for
        world.tenant.inject(split("hang"))
        assert await world.gate.tenants.ask(resort, Down("x"), journey, seconds=0.2)
        assert trio.current_time() == pytest.approx(began + 0.2)


# -- where the tier and tenant-service differ --------------------------------------------------------------------------


async def test_an_event_s_suspension_stands_against_an_answer_that_lags_behind_it(autojump_clock, world, looking):
    await looking()
    await trio.testing.wait_all_tasks_blocked()
    await kept(world)
    until = trio.current_time() + subject.DOUBT
    while trio.current_time() < until:
        assert await looking() == "TENANT.SUSPENDED"
        await trio.sleep(20)
    assert world.tier._status == {"resort": "suspended"}


async def test_an_event_that_was_lost_locks_nobody_out_for_ever(autojump_clock, world, looking):
    await kept(world)
    for _ in range(60):
        if await looking() == "in":
            break
        await trio.sleep(10)
    assert subject.DOUBT <= trio.current_time() <= subject.DOUBT + subject.ASK_AGAIN + 20


async def test_that_tenant_service_says_suspended_counts_at_once_whatever_the_tier_has(autojump_clock, world, looking):
    with within(1):
        await world.tier.set_tenant_status("resort", "active")
    world.tenants_themselves.stand("resort", "suspended")
    await looking()
    await trio.testing.wait_all_tasks_blocked()
    assert await looking() == "TENANT.SUSPENDED"
    assert world.tier._status == {"resort": "suspended"}


async def test_what_could_not_be_written_counts_here_and_is_written_later(autojump_clock, world, looking):
    with within(1):
        await world.tier.set_tenant_status("resort", "active")
    world.tenants_themselves.stand("resort", "suspended")
    await looking()
    world.tier.down()
    await trio.testing.wait_all_tasks_blocked()
    world.tier.start()
    assert world.tier._status == {"resort": "active"}
    assert await looking() == "TENANT.SUSPENDED"
    await trio.sleep(subject.TRY_AGAIN)
    assert await looking() == "TENANT.SUSPENDED"
    await trio.testing.wait_all_tasks_blocked()
    assert world.tier._status == {"resort": "suspended"}


async def test_a_full_owner_costs_no_request_anything(autojump_clock, world, looking):
    await looking()
    await trio.sleep(subject.ASK_AGAIN)
    world.owner.bound = 0
    assert await looking() == "in"
    assert asked(world) == 1


async def test_no_more_tenants_are_remembered_than_the_bound(autojump_clock, world, monkeypatch):
    monkeypatch.setattr(subject, "TENANTS", 3)
    for number in range(10):
        world.gate.tenants.suspended(TenantId(f"t{number}"), Down("x"))
    assert len(world.gate.tenants._known) == 3


# -- sessions that ended here ------------------------------------------------------------------------------------------


async def test_what_ended_here_is_over_for_a_day_and_then_forgotten(autojump_clock):
    ended = Ended()
    tenant, session = TenantId("resort"), SessionId("s")
    ended.add(tenant, session)
    assert ended.holds(tenant, session)
    assert not ended.holds(TenantId("city"), session)
    await trio.sleep(subject.ENDED_SECONDS)
    ended.add(tenant, SessionId("other"))
    assert not ended.holds(tenant, session)


async def test_of_sessions_that_ended_no_more_are_remembered_than_the_bound(autojump_clock):
    ended = Ended(bound=2)
    for name in ("a", "b", "c"):
        ended.add(TenantId("t"), SessionId(name))
    assert [ended.holds(TenantId("t"), SessionId(name)) for name in ("a", "b", "c")] == [False, True, True]


async def test_a_session_that_ends_twice_is_remembered_from_the_second_time(autojump_clock):
    ended = Ended(bound=2)
    for name in ("a", "b", "a", "c"):
        ended.add(TenantId("t"), SessionId(name))
    assert [ended.holds(TenantId("t"), SessionId(name)) for name in ("a", "b", "c")] == [True, False, True]
