"""A tenant's latest events: whoever listens gets what is for him, once and in order, or is cut."""

import tracemalloc
from functools import partial

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from bff.events.event import Event, Said, read
from bff.events.journal import WAITING, WINDOW, Alive, Closed, Full, Journal, Reset, Stalled
from bff.model import Claims
from bff.stores.bus import Entry, Position

TENANT = "t1"
EPOCH = "aaaaaaaaaaaa"
OTHER = "bbbbbbbbbbbb"
DEVICES = ("d1", "d2")
FOR_WHOM = st.sampled_from((None, *DEVICES))


def desk(device="d1"):
    return Claims("iam", "bff", 9e9, 0.0, 0.0, f"op-{device}", TENANT, device, f"s-{device}", ("p1",), "jkt")


def entry(offset, device=None, epoch=EPOCH):
    payload = msgspec.json.encode(Said("alert", TENANT, device_id=device, data={"n": offset}))
    return Entry(Position(epoch, offset), payload, 1.0, f"u{offset}")


def a_journal(**more):
    return Journal(TENANT, Position(EPOCH, 100), 0.0, **more)


class Desk:
    """A listener, and what it should have: `expected` is what it has not fetched."""

    def __init__(self, listener, device, expected):
        self.listener = listener
        self.device = device
        self.expected = expected
        self.cut = self.told_cut = self.left = False
        listener.when_cut = self.hear_cut

    def hear_cut(self):
        assert not self.told_cut
        self.told_cut = True

    def reached(self, said):
        if self.left or self.cut or said.device_id not in {None, self.device}:
            return
        if len(self.expected) >= WAITING:
            self.cut, self.expected = True, []
        else:
            self.expected.append(said.data["n"])

    def signalled(self, signal):
        if self.left or self.cut:
            return
        last = self.expected[-1] if self.expected else None
        if isinstance(signal, Reset):
            if isinstance(last, Reset):
                self.expected.pop()
            self.expected.append(signal)
        elif isinstance(last, Stalled | Alive):
            self.expected.pop()
        else:
            self.expected.append(signal)

    async def fetch(self):
        assert self.listener.waits is (bool(self.expected) or self.cut)
        assert self.listener.cut is self.cut is self.told_cut
        if not self.listener.waits:
            return
        items = await self.listener.next()
        shown = [item.said.data["n"] if isinstance(item, Event) else item for item in items]
        assert shown == ([Full()] if self.cut else self.expected)
        self.expected = []


class Model:
    """A journal beside a plain list of all that its log has, since `base`."""

    def __init__(self):
        self.first = []
        self.journal = a_journal(first=lambda event: self.first.append(event.said.data["n"]))
        self.log = []
        self.begins = 100
        self.epoch = EPOCH
        self.desks = []
        self.stalled = False
        self.heard = []

    @property
    def head(self):
        return self.begins + len(self.log)

    def said(self, one):
        self.log.append(one)
        self.heard.append(one.position.offset)
        for listens in self.desks:
            listens.reached(read(TENANT, one).said)

    def say(self, count, device):
        for _ in range(count):
            one = entry(self.head + 1, device, self.epoch)
            assert self.journal.append(one)
            self.said(one)

    def read_on(self, again, count):
        """A page: the last that are known, and some more."""
        more = [entry(self.head + 1 + at, None, self.epoch) for at in range(count)]
        self.journal.read_on([*self.log[max(0, len(self.log) - again) :], *more])
        for one in more:
            self.said(one)

    def again(self, back):
        if back < len(self.log):
            assert self.journal.append(self.log[-1 - back])

    def strange(self, kind):
        """What the log has to be asked about."""
        offset = {"gap": self.head + 2, "another": self.head, "epoch": self.head + 1}[kind]
        assert not self.journal.append(entry(offset, None, self.epoch if kind == "gap" else OTHER))

    def listen(self, device, back):
        """From now on, or after one that was `back` ago."""
        at = None if back is None else self.head - back
        known = at is None or (at >= self.begins and back <= WINDOW)
        listener = self.journal.listen(desk(device), None if at is None else Position(self.epoch, at))
        assert (listener is not None) is known
        if listener is None:
            return
        missed = [] if at is None else self.log[at - self.begins :]
        expected = [one.position.offset for one in missed if read(TENANT, one).said.device_id in {None, device}]
        self.desks.append(Desk(listener, device, expected))
        if self.stalled:
            self.desks[-1].signalled(Stalled())

    async def fetch(self, which):
        if self.desks:
            await self.desks[which % len(self.desks)].fetch()

    def leave(self, which):
        if self.desks:
            gone = self.desks[which % len(self.desks)]
            gone.listener.leave()
            gone.left = True

    def turn(self, stalled):
        self.journal.turn(stalled=stalled)
        if stalled is not self.stalled:
            for listens in self.desks:
                listens.signalled(Stalled() if stalled else Alive())
        self.stalled = stalled

    def reset(self, ahead):
        reset = Reset(Position(self.epoch, self.head + ahead))
        self.journal.reset(reset.position)
        self.log, self.begins = [], self.head + ahead
        for listens in self.desks:
            listens.signalled(reset)


async def runs(steps):
    model = Model()
    for name, *arguments in steps:
        done = getattr(model, name)(*arguments)
        if done is not None:
            await done
        assert model.journal.head == Position(model.epoch, model.head)
    for listens in model.desks:
        await listens.fetch()
    assert model.first == model.heard
    assert model.journal.listeners == sum(not (one.left or one.cut) for one in model.desks)
    kept = model.log[-WINDOW:]
    assert list(model.journal.known()[1:]) == kept


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.sampled_from((1, 1, 2, 100, WAITING + 1)), FOR_WHOM),
        st.tuples(st.just("read_on"), st.integers(0, 3), st.integers(0, 3)),
        st.tuples(st.just("again"), st.sampled_from((0, 1, 255, 256, 300))),
        st.tuples(st.just("strange"), st.sampled_from(("gap", "another", "epoch"))),
        st.tuples(st.just("listen"), st.sampled_from(DEVICES), st.sampled_from((None, 0, 1, 100, 256, 257))),
        st.tuples(st.just("fetch"), st.integers(0, 5)),
        st.tuples(st.just("leave"), st.integers(0, 5)),
        st.tuples(st.just("turn"), st.booleans()),
        st.tuples(st.just("reset"), st.integers(0, 2)),
    ),
    min_size=5,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_whoever_listens_gets_what_is_for_him_once_and_in_order_or_is_cut(simulate, steps):
    simulate(partial(runs, steps))


async def test_what_comes_in_the_moment_in_which_a_listener_leaves_off_waiting_is_there_when_it_asks_again(
    autojump_clock,
):
    journal = a_journal()
    listener = journal.listen(desk(), None)
    got = []

    async def wait(scope):
        with scope:
            got.extend(await listener.next())

    for cancelled_first in (False, True):
        scope = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, scope)
            await trio.testing.wait_all_tasks_blocked()
            if cancelled_first:
                scope.cancel()
            assert journal.append(entry(journal.head.offset + 1))
            scope.cancel()
    if listener.waits:
        got.extend(await listener.next())
    assert [event.position.offset for event in got] == [101, 102]


async def test_a_listener_that_has_only_heard_of_a_stall_which_is_over_waits_on(autojump_clock):
    journal = a_journal()
    listener = journal.listen(desk(), None)
    got = []

    async def wait():
        got.append(await listener.next())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        journal.turn(stalled=True)
        journal.turn(stalled=False)
        await trio.testing.wait_all_tasks_blocked()
        assert got == []
        journal.turn(stalled=True)
    assert got == [(Stalled(),)]


async def test_what_says_nothing_to_anybody_moves_the_head_and_reaches_no_one_f30(autojump_clock):
    journal = a_journal()
    listener = journal.listen(desk(), None)
    foreign = msgspec.json.encode(Said("alert", "t2"))
    for offset, payload in ((101, b"{"), (102, foreign), (103, b"")):
        assert journal.append(Entry(Position(EPOCH, offset), payload, 1.0))
    assert journal.head.offset == 103
    assert not listener.waits
    assert [event.said for event in journal.after(Position(EPOCH, 101))] == [None, None]


async def test_a_closed_journal_is_not_listened_to(autojump_clock):
    journal = a_journal()
    listener = journal.listen(desk(), None)
    await trio.sleep(100)
    assert not journal.idle(60)
    listener.leave()
    listener.leave()
    await trio.sleep(59.9)
    assert not journal.idle(60)
    await trio.sleep(0.2)
    assert journal.idle(60)
    journal.close()
    with pytest.raises(Closed):
        journal.listen(desk(), None)


async def test_an_idle_listener_is_small(autojump_clock):
    journal, claims = a_journal(), desk()
    journal.listen(claims, None)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(1_000):
        journal.listen(claims, None)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (after - before) / 1_000 < 400
