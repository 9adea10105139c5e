"""The keys and the trail in memory and for real, stepped together: claimed, recorded, left, abandoned, taken over.

What one world does not know, the other may: a claim that its caller left was done, or not. It is asked once more in
each, and whether the answer was `Claimed` or `InFlight`, both are one again. Leases and the time that goes by are so
long that the few milliseconds by which the worlds differ never decide anything.
"""

import json
from functools import partial
from itertools import count

import pytest
import trio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from bff.stores.keys import Busy, Claimed, Claiming, InFlight, KeptAnswer, KeyId, Recording, Unsettled
from bff.stores.mirrors import Mirror
from bff.stores.outbox import Letter
from nurseries import within

LEASES = (100.0, 300.0)
PASSES = (70, 130)  # seconds; no sum of them is a lease
GRACE = 50.0
COARSE = 10.0  # seconds

WHOSE = (("resort", "ann"), ("resort", "bob"), ("city", "ann"))
THINGS = {"a": ("lock:1",), "b": ("lock:1", "room:2"), "c": ("room:2", "lock:3")}
FACTORS = ("a1", "a2")
MOMENTS = st.sampled_from([0.0, 0.0003, 0.001, 0.003])
PACES = st.sampled_from([0.5, 1.5, 3.0])


def entry(kind, id_, **more):
    return json.dumps({"kind": kind, "operator": id_.operator, "key": id_.key, **more})


def claiming(whose, key, twisted=False, lease=LEASES[0], factor=None, audited=True):
    id_ = KeyId(*whose, key)
    rows = (None, None)
    if audited:
        rows = (entry("intent", id_, why="\x00'\U0001f511"), entry("outcome", id_, outcome="uncertain"))
    return Claiming(id_, f"{key}{twisted}".encode(), THINGS[key], b"again", lease, factor, *rows)


CLAIMS = st.builds(
    claiming,
    st.sampled_from((*WHOSE, WHOSE[0], WHOSE[0])),
    st.sampled_from(sorted(THINGS)),
    st.integers(0, 9).map(lambda number: number == 9),
    st.sampled_from(LEASES),
    st.sampled_from([None, *FACTORS]),
    st.integers(0, 9).map(lambda number: number != 9),
)


def coarse(answer):
    """An answer without the milliseconds."""
    match answer:
        case InFlight(seconds) | Busy(seconds):
            return (type(answer), round(seconds / COARSE))
        case Unsettled():
            fields = {name: getattr(answer, name) for name in Unsettled.__slots__}
            return {**fields, "age": round(answer.age / COARSE)}
        case tuple() | list():
            return [coarse(one) for one in answer]
    return answer


def told(call):
    async def asked(ledger, faults):
        return coarse(await call(ledger))

    return asked


def left(call, seconds, pace):
    async def asked(ledger, faults):
        faults.slow(seconds * pace)
        with within(seconds):
            await call(ledger)
        faults.slow(0.0)

    return asked


def left_while_it_hangs(call):
    async def asked(ledger, faults):
        faults.stop()
        with within(0.003):
            await call(ledger)
        faults.again()
        assert await ledger.ping() is None

    return asked


def at_once(call, many):
    async def asked(ledger, faults):
        answers = []

        async def ask():
            answers.append(coarse(await call(ledger)))

        async with trio.open_nursery() as nursery:
            for _ in range(many):
                nursery.start_soon(ask)
        return sorted(answers, key=repr)

    return asked


def claim(asked):
    return lambda ledger: ledger.claim(asked)


def record(what):
    return lambda ledger: ledger.record(what)


async def letters(ledger):
    return [waiting.letter for waiting in await ledger.next_letters(limit=1000)]


class ChangesMachine(RuleBasedStateMachine):
    def __init__(self, worlds):
        super().__init__()
        self.worlds = worlds("ledger")
        self.numbers = count()
        self.newest = {}  # the fence of each key, as far as one of the worlds has said it

    def look(self):
        """Everything, the same in both."""
        reads = [
            *(
                partial(lambda ledger, tenant: ledger.trail(tenant, after=0, limit=1000), tenant=t)
                for t in ("resort", "city")
            ),
            lambda ledger: ledger.ends_of_trails(),
            lambda ledger: ledger.unsettled(older_than=-1, limit=100),
            lambda ledger: ledger.unsettled(older_than=GRACE, limit=2),
            lambda ledger: ledger.lock_completeness(grace=GRACE),
            *(partial(lambda ledger, factor: ledger.spent_on(factor), factor=factor) for factor in FACTORS),
            *(partial(lambda ledger, whose: ledger.mirrored(*whose), whose=whose) for whose in WHOSE[:2]),
            letters,
        ]

        async def everything(ledger, faults):
            return [coarse(await read(ledger)) for read in reads]

        return self.worlds.same(everything)

    def heard(self, id_, *answers):
        fences = [answer.fence for answer in answers if isinstance(answer, Claimed)]
        self.newest[id_] = max([self.newest.get(id_, 0), *fences])

    def known(self):
        """Tenant, operator and key of what was claimed."""
        return sorted((id_.tenant, id_.operator, id_.key) for id_ in self.newest) or [(*WHOSE[0], "a")]

    def settle(self, asked):
        """After a claim of which nobody knows: it is there now, in both."""
        answers = self.worlds.each(told(claim(asked)))
        if Claimed not in map(type, answers):
            assert answers[0] == answers[1]
        self.heard(asked.id, *answers)
        self.look()

    @rule(asked=CLAIMS)
    def somebody_claims(self, asked):
        self.heard(asked.id, self.worlds.same(told(claim(asked))))

    @rule(asked=CLAIMS, many=st.integers(2, 12))
    def many_claim_the_same_at_once(self, asked, many):
        answers = self.worlds.same(at_once(claim(asked), many))
        assert sum(isinstance(answer, Claimed) for answer in answers) <= 1
        self.heard(asked.id, *answers)

    @rule(asked=CLAIMS, seconds=MOMENTS, pace=PACES)
    def somebody_claims_and_leaves(self, asked, seconds, pace):
        self.worlds.each(left(claim(asked), seconds, pace))
        self.settle(asked)

    @rule(asked=CLAIMS)
    def somebody_claims_and_leaves_while_it_hangs(self, asked):
        self.worlds.each(left_while_it_hangs(claim(asked)))
        self.settle(asked)

    def recording(self, data):
        id_ = KeyId(*data.draw(st.sampled_from(self.known())))
        fence = self.newest.get(id_, 1) + data.draw(st.sampled_from([0, 0, 0, 0, -1, 1]))
        state = data.draw(st.sampled_from(["recorded", "uncertain", "open"]))
        number = next(self.numbers)
        answer = KeptAnswer(200, b"%d" % number, "application/json", (("n", '"'),)) if state == "recorded" else None
        trail = (entry("outcome", id_, n=number), entry("note", id_))[: data.draw(st.integers(0, 2))]
        posted = tuple(
            Letter("topic", id_.tenant, "kind", b"%d" % number, f"m{name}")
            for name in data.draw(st.sets(st.integers(0, 9), max_size=2))
        )
        version = data.draw(st.integers(0, 3))
        mirror = Mirror(id_.tenant, id_.operator, version, b"%d" % number, float(number)) if version else None
        return Recording(id_, fence, state, answer, trail, posted, mirror)

    @rule(data=st.data(), times=st.integers(1, 2))
    def somebody_records(self, data, times):
        what = self.recording(data)
        first = self.worlds.same(told(record(what)))
        after = self.look()
        for _ in range(times):
            assert self.worlds.same(told(record(what))) is first
        assert self.look() == after, "asked once more it writes nothing"

    @rule(data=st.data(), seconds=MOMENTS, pace=PACES)
    def somebody_records_and_leaves(self, data, seconds, pace):
        what = self.recording(data)
        self.worlds.each(left(record(what), seconds, pace))
        self.worlds.same(told(record(what)))
        self.look()

    @rule(data=st.data(), many=st.integers(2, 8))
    def many_record_the_same_at_once(self, data, many):
        self.worlds.same(at_once(record(self.recording(data)), many))

    @rule(data=st.data(), state=st.sampled_from(["uncertain", "open", None]), late=st.booleans())
    def a_key_is_brought_back(self, data, state, late):
        """By whoever claimed it, after it was said what became of it or not, and after his lease or within it."""
        asked = data.draw(st.sampled_from([claiming(id_[:2], id_[2]) for id_ in self.known()]))
        self.heard(asked.id, self.worlds.same(told(claim(asked))))
        what = [Recording(asked.id, self.newest[asked.id], one) for one in (state, "open") if state]
        if late:
            self.worlds.time_goes_by(PASSES[1])
        for one in what:
            self.worlds.same(told(record(one)))
        self.heard(asked.id, self.worlds.same(told(claim(asked))))

    @rule(seconds=st.sampled_from(PASSES))
    def time_goes_by(self, seconds):
        self.worlds.time_goes_by(seconds)

    @rule(limit=st.integers(1, 3))
    def what_is_old_is_forgotten(self, limit):
        self.worlds.same(told(lambda ledger: ledger.trim_keys(older_than=100, limit=limit)))

    @rule()
    def somebody_looks(self):
        self.look()

    def teardown(self):
        try:
            self.look()
        finally:
            self.worlds.close()


def run(worlds, **kept):
    run_state_machine_as_test(
        partial(ChangesMachine, worlds),
        settings=settings(deadline=None, suppress_health_check=list(HealthCheck), **kept),
    )


def test_the_two_worlds_of_a_change_are_one(worlds):
    run(worlds, max_examples=5, stateful_step_count=25)


@pytest.mark.soak
def test_the_two_worlds_of_a_change_are_one_for_long(worlds):
    run(worlds, max_examples=100, stateful_step_count=50)
