"""One aggregate, one line."""

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from bff.writes.order import Lines
from nurseries import within


async def test_whoever_came_first_has_his_turn_first_however_late_he_gets_there(autojump_clock):
    lines, done = Lines(), []

    async def come(number, gate_takes):
        with lines.arrive(number, ["folio:1"]) as place:
            await trio.sleep(gate_takes)
            await place.turn()
            done.append(number)
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        for number, gate_takes in ((3, 0.0), (1, 0.3), (2, 0.1)):
            nursery.start_soon(come, number, gate_takes)
    assert done == [1, 2, 3]
    assert len(lines) == 0


async def test_who_is_refused_on_the_way_holds_nobody_up(autojump_clock):
    lines = Lines()
    with lines.arrive(2, ["folio:1"]) as second:
        with lines.arrive(1, ["folio:1"]), within(5) as waited:
            await second.turn()
        assert waited.cancelled_caught
        await second.turn()


async def test_another_aggregate_is_another_line(autojump_clock):
    lines = Lines()
    with lines.arrive(1, ["folio:1"]), lines.arrive(2, ["folio:2"]) as other, within(0) as at_once:
        await other.turn()
    assert not at_once.cancelled_caught


async def test_what_only_the_body_names_is_waited_for_from_when_it_is_known(autojump_clock):
    lines, done = Lines(), []

    async def assign(number, stay, room, body_takes):
        with lines.arrive(number, [("token", stay), ("token", "any room")]) as place:
            await trio.sleep(body_takes)
            await place.turn()
            place.move([("ines", stay), ("ines", room)])
            await place.turn()
            done.append(number)
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(assign, 1, "stay 1", "room 5", 0.5)
        nursery.start_soon(assign, 2, "stay 2", "room 5", 0.0)
        nursery.start_soon(assign, 3, "stay 3", "room 6", 0.0)
        with trio.move_on_after(1.0):
            await trio.sleep_forever()
        assert done == [1, 3]
    assert done == [1, 3, 2]


NAMES = st.frozensets(st.sampled_from("abc"), min_size=1)
VISITS = st.lists(st.tuples(NAMES, NAMES, st.floats(0, 2), st.floats(0, 2), st.floats(0, 3)), min_size=1, max_size=8)


@settings(max_examples=40)
@given(visits=VISITS, order=st.permutations(range(8)))
def test_in_each_line_one_is_at_it_and_all_in_the_order_of_their_numbers(simulate, visits, order):
    async def main():
        lines, at_it, done = Lines(), set(), []

        async def visit(number, first, then, gate_takes, work_takes, gives_up):
            with lines.arrive(number, first) as place, within(gives_up):
                await trio.sleep(gate_takes)
                await place.turn()
                place.move(then)
                await place.turn()
                assert not at_it & then
                at_it.update(then)
                done.append((number, then))
                try:
                    await trio.sleep(work_takes)
                finally:
                    at_it.difference_update(then)

        async with trio.open_nursery() as nursery:
            for number, (first, then, gate_takes, work_takes, gives_up) in zip(order, visits, strict=False):
                nursery.start_soon(visit, number, first | then, then, gate_takes, work_takes, gives_up)
        for name in "abc":
            line = [number for number, names in done if name in names]
            assert line == sorted(line)
        assert len(lines) == 0

    simulate(main)
