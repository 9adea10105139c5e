"""A trace says what a run did, in order; two are compared by their digest, and where they part is named."""

import functools

import pytest
import trio

from chaos.sim.clock import simulate
from chaos.sim.trace import Trace, first_difference, keeping, note


async def saying(*said):
    for kind, data in said:
        await trio.sleep(0.25)
        note(kind, data)


def digest(*said):
    trace = Trace()
    simulate(saying, *said, trace=trace)
    return trace.digest()


def test_a_line_says_when_who_and_what_without_what_was_sent():
    trace = Trace(keep=100)
    simulate(saying, ("sent", b"secret"), ("closed", b""), trace=trace)
    told = [line.split(" ", 1) for line in trace.lines]
    assert ["0.500000000", "closed"] in told
    assert any(at == "0.250000000" and what.startswith("sent 6 ") for at, what in told)
    assert not any("secret" in line for line in trace.lines)
    assert trace.bytes == 6 and trace.steps == len([line for line in trace.lines if ":" in line])


@pytest.mark.parametrize(
    "other",
    [
        [("sent", b"aB")],
        [("sent", b"a"), ("sent", b"b")],
        [("came", b"ab")],
        [("sent", b"ab"), ("closed", b"")],
        [],
    ],
)
def test_what_differs_in_a_byte_a_piece_a_kind_or_an_end_has_another_digest(other):
    assert digest(("sent", b"ab")) == digest(("sent", b"ab"))
    assert digest(*other) != digest(("sent", b"ab"))


def test_the_same_thing_at_another_time_has_another_digest():
    async def after(seconds):
        await trio.sleep(seconds)
        note("sent", b"a")

    def at(seconds):
        trace = Trace()
        simulate(after, seconds, trace=trace)
        return trace.digest()

    assert at(1.0) == at(1.0) != at(1.0 + 1e-6)


def test_the_address_in_a_task_s_name_is_left_out():
    class Desk:
        async def work(self):
            await trio.lowlevel.checkpoint()

    async def main(desk):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.work, name=f"<bound method of {object.__repr__(desk)}>")
            nursery.start_soon(functools.partial(desk.work))

    def lines(desk):
        trace = Trace(keep=100)
        simulate(main, desk, trace=trace)
        return trace.lines

    one, other = Desk(), Desk()
    assert lines(one) == lines(other)
    assert any("Desk object" in line for line in lines(one)), "the name itself is there"
    assert not any("0x" in line for line in lines(one))


def test_tasks_of_one_name_are_told_apart_by_the_order_of_their_birth():
    async def main():
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(saying, name="desk")

    trace = Trace(keep=100)
    simulate(main, trace=trace)
    assert len({line.split()[1] for line in trace.lines if line.endswith(":desk")}) == 3


def test_lines_beyond_those_kept_are_still_in_the_hash():
    few, many = Trace(keep=3), Trace(keep=1000)
    for trace in (few, many):
        simulate(saying, *[("sent", b"x")] * 5, trace=trace)
    assert len(few.lines) == 3 and few.lines == many.lines[:3]
    assert few.digest() == many.digest() and few.steps == many.steps


def test_time_counts_from_the_beginning_of_the_run():
    one, other = Trace(), Trace()
    for trace, jump in ((one, 0), (other, 1000)):
        clock = trio.testing.MockClock(autojump_threshold=0)
        clock.jump(jump)
        simulate(saying, ("sent", b"x"), trace=trace, clock=clock)
    assert one.digest() == other.digest()


def test_where_two_traces_part_is_named():
    assert first_difference(["a", "b"], ["a", "b"]) is None
    assert first_difference(["a", "b", "c"], ["a", "x", "c"]) == (1, "b", "x")
    assert first_difference(["a"], ["a", "b"]) == (1, "", "b")
    assert first_difference(["a", "b"], ["a"]) == (1, "b", "")
    assert first_difference([], []) is None


async def test_a_note_goes_to_the_innermost_trace_and_to_none_outside():
    outer, inner = Trace(), Trace()
    note("lost", b"1")
    with keeping(outer) as kept:
        note("sent", b"12")
        with pytest.raises(KeyError), keeping(inner):
            note("sent", b"123")
            raise KeyError
        note("sent", b"1234")
    note("lost", b"12345")
    assert kept is outer and (outer.bytes, inner.bytes) == (6, 3)
