import itertools

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bff.model import Down
from bff.stores import PATIENCE
from bff.stores.border import open_border
from bff.stores.redis_tier import open_tier
from bff.stores.tier import Attendance, Presented, SessionBlob, Standing
from chaos.hotel.stores.tier import SimTier
from nurseries import Unbounded, within

KEY = "k" * 43
DAYS = itertools.count(0, 2)


def presented(jti, *, nonce="n1", tenant=None, session=None, jkt=KEY, ttl=60.0):
    return Presented(tenant, session, jkt, jti, nonce, ttl)


def blob_of(tenant, session, **changes):
    fields = {"operator": "ann", "device": "d1", "jkt": KEY, "cursor": "c7", "expires_at": 1.5e9, **changes}
    return SessionBlob(tenant=tenant, session=session, **fields)


async def test_a_proof_is_fresh_once_and_seen_ever_after_f28(tier, fresh):
    jti = fresh("jti")
    with trio.fail_after(5):
        assert await tier.present(presented(jti, nonce="n1")) == Standing(True, False, None, None)
        assert await tier.present(presented(jti, nonce="n2")) == Standing(False, False, None, None)
        assert await tier.present(presented(jti, nonce="n3")) == Standing(False, False, None, None)


async def test_the_same_presentation_asked_again_is_no_replay(tier, fresh):
    jti = fresh("jti")
    with trio.fail_after(5):
        assert (await tier.present(presented(jti, nonce="n1"))).fresh
        assert (await tier.present(presented(jti, nonce="n1"))).fresh


async def test_two_keys_may_choose_the_same_jti_and_no_two_pairs_meet(tier, fresh):
    word = fresh("jti")
    pairs = [
        ("a" * 43, word),
        ("b" * 43, word),
        ("a" * 43, f"{word}\0"),
        ("a" * 43, f"|{word}"),
        (KEY, "\ud800" + word),
    ]
    for number, (jkt, jti) in enumerate(pairs):
        with trio.fail_after(5):
            assert (await tier.present(presented(jti, jkt=jkt, nonce=f"n{number}"))).fresh


async def test_of_many_who_present_one_proof_at_once_exactly_one_is_first_f28(tier, fresh):
    jti = fresh("jti")
    answers = []

    async def present(number):
        answers.append((await tier.present(presented(jti, nonce=f"n{number}"))).fresh)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for number in range(64):
                nursery.start_soon(present, number)
    assert sorted(answers) == [False] * 63 + [True]


async def test_one_step_reads_the_session_and_the_tenant(tier, fresh):
    blob = blob_of(fresh("resort"), "s1", cursor=None)
    proof = presented(fresh("jti"), tenant=blob.tenant, session="s1")
    with trio.fail_after(5):
        assert await tier.present(proof) == Standing(True, False, None, None)
        assert await tier.keep(blob, 60) is None
        assert await tier.set_tenant_status(blob.tenant, "suspended") is None
        assert await tier.present(proof) == Standing(True, False, "suspended", blob)
        assert await tier.set_tenant_status(blob.tenant, "active") is None
        assert await tier.present(proof) == Standing(True, False, "active", blob)


async def test_a_proof_without_a_session_still_reads_its_tenant(tier, fresh):
    tenant = fresh("resort")
    with trio.fail_after(5):
        await tier.set_tenant_status(tenant, "suspended")
        assert await tier.present(presented(fresh("jti"), tenant=tenant)) == Standing(True, False, "suspended", None)


async def test_a_revoked_session_loses_its_blob_and_stays_revoked_when_it_is_written_again(tier, fresh):
    blob = blob_of(fresh("resort"), "s1")
    proof = presented(fresh("jti"), tenant=blob.tenant, session="s1")
    with trio.fail_after(5):
        await tier.keep(blob, 60)
        assert await tier.revoke(blob.tenant, blob.session, 60) is None
        assert await tier.present(proof) == Standing(True, True, None, None)
        await tier.keep(blob, 60)  # a refresh that was under way when the session was revoked
        assert await tier.present(proof) == Standing(True, True, None, blob)


async def test_the_same_session_id_of_another_tenant_is_another_session_f30(tier, fresh):
    resort, city = fresh("resort"), fresh("city")
    with trio.fail_after(5):
        await tier.keep(blob_of(resort, "s1"), 60)
        await tier.keep(blob_of(resort, "s2"), 60)
        await tier.revoke(resort, "s2", 60)
        await tier.set_tenant_status(resort, "suspended")
        for session in ("s1", "s2"):
            proof = presented(fresh("jti"), tenant=city, session=session)
            assert await tier.present(proof) == Standing(True, False, None, None)


async def test_many_are_asked_at_once_which_of_them_are_over_and_each_tenant_answers_for_its_own_f31(tier, fresh):
    resort, city = fresh("resort"), fresh("city")
    with trio.fail_after(5):
        for number in range(3, 600, 3):
            await tier.revoke(resort, f"s{number}", 60)
        await tier.keep(blob_of(resort, "s3"), 60)  # a mark outranks what is written again
        await tier.keep(blob_of(city, "s3"), 60)
        asked = [(tenant, f"s{number}") for tenant in (resort, city) for number in range(600)]
        over = await tier.ended(asked)
        assert over == tuple(bool(at < 600 and at and at % 3 == 0) for at in range(1200))
        assert await tier.ended([(resort, "s3"), (resort, "s3")]) == (True, True)


async def test_the_end_of_a_session_is_known_for_as_long_as_it_was_said(tier, fresh):
    tenant = fresh("resort")
    with trio.fail_after(5):
        await tier.revoke(tenant, "s1", 0.2)
        assert await tier.ended([(tenant, "s1")]) == (True,)
        await trio.sleep(0.3)
        assert await tier.ended([(tenant, "s1")]) == (False,)


async def test_who_is_here_is_counted_until_he_has_not_said_so_for_a_while_and_what_all_have_sent_is_one_sum_f39_f40(
    tier, fresh
):
    one, two, day = fresh("process"), fresh("process"), 7 + next(DAYS)
    with trio.fail_after(5):
        begun = await tier.attend(one, 0.4, day=day, sent=100)
        both = await tier.attend(two, 60.0, day=day, sent=0)
        assert (both.processes - begun.processes, begun.sent, both.sent) == (1, 100, 100)
        again = await tier.attend(two, 60.0, day=day, sent=23)
        assert again == Attendance(both.processes, 123)
        assert (await tier.attend(two, 60.0, day=day + 1, sent=5)).sent == 5
        await trio.sleep(0.5)
        assert (await tier.attend(two, 0.001, day=day, sent=0)) == Attendance(begun.processes, 123)


async def test_no_verb_waits_without_a_deadline_f33(tier, fresh):
    tenant = fresh("resort")
    verbs = [
        lambda: tier.present(presented(fresh("jti"))),
        lambda: tier.keep(blob_of(tenant, "s1"), 60),
        lambda: tier.revoke(tenant, "s1", 60),
        lambda: tier.ended([(tenant, "s1")]),
        lambda: tier.set_tenant_status(tenant, "active"),
        tier.ping,
    ]
    for verb in verbs:
        with pytest.raises(Unbounded):
            await verb()


async def test_who_is_cancelled_before_it_asks_has_asked_nothing(tier, fresh):
    jti = fresh("jti")
    with within(0) as over:
        await tier.present(presented(jti, nonce="n1"))
    assert over.cancelled_caught
    with trio.fail_after(5):
        assert (await tier.present(presented(jti, nonce="n2"))).fresh


async def test_a_tier_that_is_down_says_so_at_once_and_comes_back_with_all_it_held_f18(tier_and_faults, fresh):
    tier, faults = tier_and_faults
    blob = blob_of(fresh("resort"), "s1")
    jti = fresh("jti")
    with trio.fail_after(5):
        await tier.keep(blob, 60)
        await tier.present(presented(jti, nonce="n1"))
        faults.down()
        began = trio.current_time()
        assert isinstance(await tier.present(presented(jti, nonce="n2")), Down)
        for verb in (
            tier.keep(blob, 60),
            tier.revoke("resort", "s9", 60),
            tier.ended([("resort", "s9")]),
            tier.set_tenant_status("x", "active"),
            tier.ping(),
        ):
            assert isinstance(await verb, Down)
        assert trio.current_time() - began < PATIENCE / 2
        await faults.start(tier.ping)
        again = await tier.present(presented(jti, nonce="n3", tenant=blob.tenant, session="s1"))
        assert again == Standing(False, False, None, blob)
    assert faults.told == [("redis-session", True), ("redis-session", False), ("redis-session", True)]


async def test_a_tier_that_hangs_costs_its_patience_once_and_a_shorter_deadline_is_kept(tier_and_faults, fresh):
    tier, faults = tier_and_faults
    answers = {}

    async def ask(name, seconds):
        began = trio.current_time()
        with within(seconds):
            answers[name] = await tier.present(presented(fresh("jti")))
        answers.setdefault(name, "left")
        answers[f"{name} after"] = trio.current_time() - began

    with trio.fail_after(8):
        await tier.ping()
        faults.stop()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "patient", 5)
            nursery.start_soon(ask, "hurried", 0.1)
        await ask("next", 5)
        await faults.start(tier.ping)
        assert (await tier.present(presented(fresh("jti")))).fresh
    assert isinstance(answers["patient"], Down) and answers["patient after"] < PATIENCE + 0.2
    assert answers["hurried"] == "left" and answers["hurried after"] < 0.15
    assert isinstance(answers["next"], Down) and answers["next after"] < 0.1


async def test_who_waits_when_the_tier_dies_is_told_so_at_once(tier_and_faults, fresh):
    tier, faults = tier_and_faults
    answers = []

    async def ask():
        answers.append(await tier.present(presented(fresh("jti"))))

    with trio.fail_after(5):
        await tier.ping()
        faults.stop()
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            faults.down()
            began = trio.current_time()
        assert trio.current_time() - began < PATIENCE / 2
        assert len(answers) == 20 and all(isinstance(answer, Down) for answer in answers)
        await faults.start(tier.ping)


async def test_another_server_at_the_same_address_is_told_once_f19(tier_and_faults, fresh):
    """A break alone is none: the server that stood still is the one that was there."""
    tier, faults = tier_and_faults
    with trio.fail_after(8):
        assert await tier.ping() is None
        faults.stop()
        assert isinstance(await tier.ping(), Down)
        await faults.start(tier.ping)
        assert (tier.connections, faults.taken_over) == (2, [])
        faults.down()
        assert isinstance(await tier.ping(), Down)
        assert faults.taken_over == []
        await faults.start(tier.ping)
        for _ in range(3):
            await tier.present(presented(fresh("jti")))
        assert (tier.connections, faults.taken_over) == (3, ["redis-session"])


async def test_each_break_of_the_line_is_another_connection_and_nothing_else_is_f19(tier_and_faults, fresh):
    """What was acknowledged over an older one may be gone: who reads it before he asks finds out."""
    tier, faults = tier_and_faults
    with trio.fail_after(8):
        assert await tier.ping() is None
        assert tier.connections == 1
        with within(0):
            await tier.present(presented(fresh("jti")))
        assert (await tier.present(presented(fresh("jti")))).fresh
        assert tier.connections == 1
        faults.down()
        assert isinstance(await tier.ping(), Down)
        assert tier.connections == 1
        await faults.start(tier.ping)
        assert tier.connections == 2
        faults.down()
        faults.again()
        assert (await tier.present(presented(fresh("jti")))).fresh
        assert tier.connections == 3, "a restart that nobody noticed"
        faults.stop()
        faults.again()
        assert (await tier.ping(), tier.connections) == (None, 3), "a pause within everybody's patience"
        faults.stop()
        assert isinstance(await tier.ping(), Down)
        await faults.start(tier.ping)
        assert tier.connections == 4


NAMES = st.sampled_from(["s1", "s2"])
TENANTS = st.sampled_from(["resort", "city"])
OPERATIONS = st.one_of(
    st.tuples(
        st.just("present"), TENANTS | st.none(), NAMES | st.none(), st.sampled_from("abc"), st.sampled_from("xy")
    ),
    st.tuples(st.just("keep"), TENANTS, NAMES, st.sampled_from(["c1", None])),
    st.tuples(st.just("revoke"), TENANTS, NAMES),
    st.tuples(st.just("ended"), st.lists(st.tuples(TENANTS, NAMES), min_size=1, max_size=5)),
    st.tuples(st.just("status"), TENANTS, st.sampled_from(["active", "suspended"])),
)


async def performed(tier, operation, prefix):
    match operation:
        case "present", tenant, session, jti, nonce:
            tenant = tenant and prefix + tenant
            return await tier.present(presented(prefix + jti, tenant=tenant, session=session, nonce=nonce))
        case "keep", tenant, session, cursor:
            return await tier.keep(blob_of(prefix + tenant, session, cursor=cursor), 60)
        case "revoke", tenant, session:
            return await tier.revoke(prefix + tenant, session, 60)
        case "ended", sessions:
            return await tier.ended([(prefix + tenant, session) for tenant, session in sessions])
        case "status", tenant, status:
            return await tier.set_tenant_status(prefix + tenant, status)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=st.lists(OPERATIONS, min_size=5, max_size=30))
async def test_whatever_is_asked_both_worlds_answer_the_same(running, fresh, operations):
    prefix = fresh("run")
    simulated = SimTier()
    async with open_border() as border, open_tier(border, running.redis_session_url) as real:
        for operation in operations:
            with trio.fail_after(5):
                expected = await performed(simulated, operation, prefix)
                assert await performed(real, operation, prefix) == expected
