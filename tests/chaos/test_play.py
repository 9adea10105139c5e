"""A plan is played on a toy stage: faults come and go on time, checks look on, and whatever happens, all is healed."""

import math
import signal

import pytest
import trio

from chaos.history import CHECKS, FAULTS
from chaos.plan import BadPlan, Fault, Plan, Promise, Work
from chaos.play import HEALS_WITHIN, Cast, play
from chaos.toxics import BadToxic, Down, Hang, Kill, Latency


class Toy:
    """A stage that remembers. Each act takes `takes` seconds; those of `hangs` never end, those of `breaks` raise."""

    def __init__(self, *, takes=0.0, hangs=(), breaks=(), cannot=()):
        self.there = set()
        self.acts = []
        self._takes, self._hangs, self._breaks, self._cannot = takes, set(hangs), set(breaks), set(cannot)
        self._began = trio.current_time()

    async def _act(self, name, *said):
        if name in self._cannot:
            raise BadToxic(f"{said[0]} cannot {name}")
        if name in self._breaks:
            self._breaks.discard(name)  # once
            raise OSError(f"{name} broke")
        await trio.sleep(math.inf if name in self._hangs else self._takes)
        self.acts.append((trio.current_time() - self._began, name, *map(str, said)))

    async def inject(self, target, toxic):
        await self._act("inject", target, toxic)
        self.there.add((target, toxic))

    async def clear(self, target, toxic=None):
        await self._act("clear" if target else "heal", *([target, toxic] if target else []))
        self.there = {(at, what) for at, what in self.there if target and (at, what) != (target, toxic)}


async def ticks(stage, history, work):
    while True:
        history.note("desk-1", "tick", data_there=len(stage.there), good=not stage.there)
        await trio.sleep(work.number("every", 1))


async def raises(stage, history, work):
    await trio.sleep(2)
    raise ValueError("no such room")


def good_ticks():
    return lambda moment: f"{moment.word} at {moment.at:g}" if moment.good is False else None


def ticked(history):
    since = [moment for moment in history.moments if moment.word == "tick" and moment.at > (history.calm_at or 0)]
    return "" if len(since) >= 2 else f"{2 - len(since)} more"


CAST = Cast(
    works={"ticks": ticks, "raises": raises},
    always={"good": good_ticks},
    eventually={"ticked": ticked, "never": lambda history: "everything"},
)
FAULT = Fault("pricing", Hang(), 2.5, 4.25)


def plan(*faults, lasts=6, calm=5, work=("ticks",), **more):
    return Plan("x", "", lasts, calm, tuple(Work(word) for word in work), faults, **more)


def words(played, lane):
    return [(moment.at, moment.word) for moment in played.moments if moment.lane == lane]


async def test_faults_come_and_go_at_their_times_and_the_rest_is_healed_at_the_calm(autojump_clock):
    stage = Toy()
    played = await play(plan(FAULT, Fault("iam", Down(), 0), Fault("stay", Latency(ms=5), 3, math.inf)), stage, CAST)
    assert stage.acts == [
        (0.0, "inject", "iam", "down"),
        (2.5, "inject", "pricing", "hang"),
        (3.0, "inject", "stay", "latency ms=5"),
        (4.25, "clear", "pricing", "hang"),
        (6.0, "heal"),
    ]
    assert words(played, FAULTS) == [
        *((at, word) for at in (0, 2.5, 3) for word in ("breaking", "begins")),
        (4.25, "ends"),
        (6, "calm"),
    ]
    assert played.held and played.skipped == () and trio.current_time() == 11.0
    ended = next(moment for moment in played.moments if moment.word == "ends")
    assert ended.data == {"target": "pricing", "toxic": "hang"} and ended.text == "pricing hang"


async def test_a_fault_begins_when_it_is_there_and_a_slow_stage_keeps_the_times_of_the_plan(autojump_clock):
    stage = Toy(takes=0.5)
    played = await play(plan(FAULT), stage, CAST)
    assert words(played, FAULTS) == [(2.5, "breaking"), (3.0, "begins"), (4.75, "ends"), (6.5, "calm")]
    assert trio.current_time() == 11.5, "the calm is as long as it was to be"


async def test_what_always_holds_is_looked_at_while_the_fault_is_there(autojump_clock):
    played = await play(plan(FAULT, always=("good",)), Toy(), CAST)
    assert [(found.at, found.check, found.text) for found in played.findings] == [
        (3.0, "good", "tick at 3"),
        (4.0, "good", "tick at 4"),
    ]
    assert not played.held
    assert words(played, CHECKS) == [(3.0, "good"), (4.0, "good")]


async def test_a_judge_is_made_anew_for_each_run(autojump_clock):
    made = []

    def first_only():
        made.append(seen := [])
        return lambda moment: seen.append(moment) or ("first" if len(seen) == 1 else None)

    cast = Cast(works={"ticks": ticks}, always={"once": first_only})
    for _ in range(2):
        assert len((await play(plan(always=("once",)), Toy(), cast)).findings) == 1
    assert len(made) == 2


async def test_a_promise_comes_true_within_its_bound_and_it_is_said_when(autojump_clock):
    played = await play(plan(eventually=(Promise("ticked", 3),), lasts=5.5), Toy(), CAST)
    assert played.held
    told = [moment for moment in played.moments if moment.lane == CHECKS]
    assert [(moment.at, moment.word, moment.good) for moment in told] == [(7.0, "ticked", True)]
    assert told[0].data["after"] == 1.5


async def test_a_promise_that_does_not_come_true_is_found_when_its_bound_is_over(autojump_clock):
    played = await play(plan(eventually=(Promise("ticked", 1), Promise("never", 2)), lasts=5.5), Toy(), CAST)
    assert [(found.at, found.check) for found in played.findings] == [(6.5, "ticked"), (7.5, "never")]
    assert played.findings[0].text == "not within 1 s of calm: 1 more"


async def test_a_promise_that_time_alone_fulfils_is_kept_though_nothing_happens(autojump_clock):
    cast = Cast(eventually={"quiet": lambda history: "" if history.elapsed() >= 7 else "too early"})
    assert (await play(plan(work=(), eventually=(Promise("quiet", 1),)), Toy(), cast)).held
    early = await play(plan(work=(), eventually=(Promise("quiet", 0.5),)), Toy(), cast)
    assert [found.check for found in early.findings] == ["quiet"]


async def test_what_cannot_be_done_here_is_skipped_and_said(autojump_clock):
    played = await play(plan(Fault("redis", Kill(), 1)), Toy(cannot=["inject"]), CAST)
    assert played.skipped == ("redis kill from 1: redis cannot inject",)
    assert words(played, FAULTS) == [(1.0, "breaking"), (1.0, "skipped"), (6.0, "calm")] and played.held


async def test_a_fault_that_cannot_be_taken_back_alone_is_there_until_the_calm(autojump_clock):
    played = await play(plan(FAULT), Toy(cannot=["clear"]), CAST)
    assert played.skipped == ("pricing hang from 2.5 until 4.25: pricing cannot clear",)
    assert words(played, FAULTS) == [(2.5, "breaking"), (2.5, "begins"), (4.25, "skipped"), (6.0, "calm")]


async def test_a_stage_that_never_heals_is_a_finding_once_and_the_plan_goes_on(autojump_clock):
    played = await play(plan(FAULT, eventually=(Promise("ticked", 3),)), Toy(hangs=["heal"]), CAST)
    assert [(found.at, found.check, found.text) for found in played.findings] == [
        (6 + HEALS_WITHIN, "heal", "not healed within 30 s")
    ]
    calm = next(moment for moment in played.moments if moment.word == "calm")
    assert (calm.at, calm.text) == (36.0, "the plan goes on unhealed")
    assert trio.current_time() == 41.0


async def test_a_stage_that_hangs_in_the_middle_does_not_hold_up_the_calm(autojump_clock):
    stage = Toy(hangs=["inject"])
    played = await play(plan(FAULT), stage, CAST)
    assert stage.acts == [(6.0, "heal")] and played.held and trio.current_time() == 11.0


async def test_a_work_that_raises_is_a_finding_and_the_others_go_on(autojump_clock):
    played = await play(plan(work=("raises", "ticks")), Toy(), CAST)
    assert [(found.at, found.check, found.text) for found in played.findings] == [
        (2.0, "work", "raises broke off: ValueError: no such room")
    ]
    assert len([moment for moment in played.moments if moment.word == "tick"]) >= 11


async def test_a_work_that_breaks_off_while_it_is_cancelled_is_a_finding_too(autojump_clock):
    async def untidy(stage, history, work):
        async def child():
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("left open")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            await trio.sleep_forever()

    played = await play(plan(work=("untidy",)), Toy(), Cast(works={"untidy": untidy}))
    assert [(found.at, found.text) for found in played.findings] == [(11.0, "untidy broke off: ValueError: left open")]


async def test_leaving_by_cancellation_heals_everything_at_once(autojump_clock):
    stage = Toy(takes=0.25)

    async def slow_to_leave(stage, history, work):
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(20)

    cast = Cast(works={"slow": slow_to_leave})
    with trio.move_on_after(3) as scope:
        await play(plan(FAULT, work=("slow",)), stage, cast)
    assert scope.cancelled_caught
    assert stage.acts[-1] == (3.25, "heal"), "not twenty seconds later, when the work has left"
    assert stage.there == set()


@pytest.mark.parametrize("act", ["inject", "clear", "heal"])
async def test_an_error_of_the_stage_is_raised_and_everything_is_healed(autojump_clock, act):
    stage = Toy(breaks=[act])
    with pytest.RaisesGroup(OSError, flatten_subgroups=True):
        await play(plan(Fault("iam", Down()), FAULT), stage, CAST)
    assert stage.acts[-1][1] == "heal" and stage.there == set()


async def test_an_error_of_a_check_heals_everything(autojump_clock):
    def broken():
        return lambda moment: 1 / 0 if moment.word == "ends" else None

    stage = Toy()
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        await play(
            plan(FAULT, Fault("iam", Down()), always=("broken",)),
            stage,
            Cast(works={"ticks": ticks}, always={"broken": broken}),
        )
    assert stage.acts[-1] == (4.25, "heal") and stage.there == set()


def test_ctrl_c_in_the_middle_heals_everything():
    left = []

    async def interrupts(stage, history, work):
        await trio.sleep(3)
        signal.raise_signal(signal.SIGINT)
        await trio.sleep_forever()

    async def main():
        left.append(stage := Toy())
        await play(plan(FAULT, work=("interrupts",)), stage, Cast(works={"interrupts": interrupts}))

    with pytest.RaisesGroup(KeyboardInterrupt, flatten_subgroups=True, allow_unwrapped=True):
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    (stage,) = left
    assert [act[1] for act in stage.acts] == ["inject", "heal"] and stage.there == set()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (plan(work=("dances",)), "work: nobody knows 'dances': there are ticks, raises"),
        (plan(always=("bad",)), "always: nobody knows 'bad': there are good"),
        (plan(eventually=(Promise("late", 1),)), "eventually: nobody knows 'late': there are ticked, never"),
    ],
)
async def test_a_word_that_the_cast_does_not_know_is_told_before_anything_happens(autojump_clock, wrong, told):
    stage = Toy()
    with pytest.raises(BadPlan, match=told):
        await play(wrong, stage, CAST)
    assert stage.acts == [] and trio.current_time() == 0


async def test_of_two_casts_the_second_is_heard_first(autojump_clock):
    async def nods(stage, history, work):
        history.note("desk-1", "nod")

    both = CAST.and_also(Cast(works={"ticks": nods}, always={"well": good_ticks}))
    played = await play(plan(always=("good", "well")), Toy(), both)
    assert words(played, "desk-1") == [(0.0, "nod")]
    assert set(both.eventually) == {"ticked", "never"}
