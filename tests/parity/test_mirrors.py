import json
from dataclasses import replace

import pytest
import trio

from bff.model import Down
from bff.stores.mirrors import DeviceCursor, Mirror
from bff.stores.switchboard import Switch
from bff.stores.trail import HOUSE
from nurseries import Unbounded

AS_OF = 1_439_622_000.123456789  # to the last bit of a float
ODD = ("", "Zoo", "a", "a-b", "aB", "ab", "Éa", "客室", "\U0001f511")


def mirror(version=1, tenant="resort", operator="ann", values=b'{"dark":true}\x00\xff', as_of=AS_OF):
    return Mirror(tenant, operator, version, values, as_of)


async def test_an_operator_s_copy_is_replaced_by_a_newer_version_only_f36(ledger):
    with trio.fail_after(5):
        assert await ledger.mirrored("resort", "ann") is None
        assert await ledger.mirror(mirror(7)) is None
        assert await ledger.mirrored("resort", "ann") == mirror(7)
        await ledger.mirror(mirror(6, values=b"old", as_of=AS_OF + 9))
        assert await ledger.mirrored("resort", "ann") == mirror(7)
        again = mirror(7, values=b"the same version, as the authority has it now", as_of=AS_OF + 1)
        await ledger.mirror(again)
        assert await ledger.mirrored("resort", "ann") == again
        newest = mirror(2**40, values=b"")
        await ledger.mirror(newest)
        assert await ledger.mirrored("resort", "ann") == newest


async def test_nobody_s_copy_is_another_s_f30(ledger):
    near = [("resort", "ann"), ("resort", "an"), ("city", "ann"), ("resorta", "nn"), ("", "ann"), ("resort", "")]
    with trio.fail_after(5):
        assert await ledger.mirrored("resort", "ann") is None
        for number, (tenant, operator) in enumerate(near):
            await ledger.mirror(mirror(number, tenant, operator))
            await ledger.keep_cursor(DeviceCursor(tenant, operator, str(number), AS_OF))
        for number, (tenant, name) in enumerate(near):
            assert await ledger.mirrored(tenant, name) == mirror(number, tenant, name)
            assert await ledger.cursor(tenant, name) == DeviceCursor(tenant, name, str(number), AS_OF)


async def paged(read):
    """Everything, three at a time."""
    found, page = [], True
    while page:
        last = found[-1] if found else None
        page = await read(after=place(last) if last else ("", ""), limit=3)
        assert len(page) <= 3
        found.extend(page)
    return found


def place(kept):
    return (kept.tenant, kept.operator if isinstance(kept, Mirror) else kept.device)


async def test_all_copies_are_read_in_pages_and_in_one_order(ledger):
    places = [(tenant, name) for tenant in ODD[1:5] for name in ODD[1:]] + [("Éa", ""), ("客室", "x")]
    with trio.fail_after(8):
        assert await ledger.mirrors(after=("", ""), limit=3) == await ledger.cursors(after=("", ""), limit=3) == ()
        for tenant, name in reversed(places):
            await ledger.mirror(mirror(1, tenant, name))
            await ledger.keep_cursor(DeviceCursor(tenant, name, "c", AS_OF, diverged=True))
        assert await paged(ledger.mirrors) == [mirror(1, *place) for place in sorted(places)]
        assert await paged(ledger.cursors) == [DeviceCursor(*place, "c", AS_OF, True) for place in sorted(places)]


async def test_a_device_s_cursor_is_what_was_said_last_f35(ledger):
    first, second = DeviceCursor("resort", "d1", "c2", AS_OF), DeviceCursor("resort", "d1", "c1", AS_OF - 5)
    with trio.fail_after(5):
        assert await ledger.cursor("resort", "d1") is None
        for said in (first, second, replace(first, diverged=True), first):
            assert await ledger.keep_cursor(said) is None
            assert await ledger.cursor("resort", "d1") == said


async def test_a_cursor_is_marked_as_diverged_only_if_it_is_still_what_was_seen_f35(ledger):
    seen = DeviceCursor("resort", "d1", "c1", AS_OF)
    with trio.fail_after(5):
        assert await ledger.mark_diverged(seen) is False
        await ledger.keep_cursor(seen)
        for other in (replace(seen, cursor="c2"), replace(seen, as_of=AS_OF + 1), replace(seen, device="d2")):
            assert await ledger.mark_diverged(other) is False
        assert await ledger.cursor("resort", "d1") == seen
        assert [await ledger.mark_diverged(seen) for _ in range(2)] == [True, True]
        assert await ledger.cursor("resort", "d1") == replace(seen, diverged=True)
        await ledger.keep_cursor(replace(seen, as_of=AS_OF + 1))
        assert await ledger.mark_diverged(seen) is False, "a handshake came between"
        assert await ledger.cursor("resort", "d1") == replace(seen, as_of=AS_OF + 1)


def switch(name="locks", value="off", mark=0, since=AS_OF):
    return Switch(name, value, since, "ann '; 客室", "because", mark)


def told(text):
    return json.dumps({"kind": "switch", "what": text})


async def test_a_switch_is_as_it_was_turned_last_and_the_house_s_trail_says_so(ledger):
    turns = [switch(), switch("traffic"), switch(value="on", mark=3, since=AS_OF + 1), switch("Zoo"), switch("a-b")]
    with trio.fail_after(5):
        assert await ledger.switches() == ()
        for number, turn in enumerate(turns):
            assert await ledger.turn(turn, told(number)) is True
        assert await ledger.switches() == (turns[3], turns[4], turns[2], turns[1])
        trail = await ledger.trail(HOUSE, after=0, limit=9)
    assert [row.entry for row in trail] == [told(number) for number in range(len(turns))]


async def test_a_switch_that_has_another_value_is_not_turned_and_nothing_is_told(ledger):
    with trio.fail_after(5):
        assert await ledger.turn(switch(), told("never turned"), only_from="on") is False
        assert await ledger.switches() == ()
        assert await ledger.turn(switch(value="frozen", mark=2), told(1), only_from="") is True
        for other in ("", "on", "Frozen"):
            assert await ledger.turn(switch(value="off"), told("refused"), only_from=other) is False
        assert await ledger.switches() == (switch(value="frozen", mark=2),)
        assert await ledger.turn(switch(value="on"), told(2), only_from="frozen") is True
        assert await ledger.switches() == (switch(value="on"),)
        assert [row.entry for row in await ledger.trail(HOUSE, after=0, limit=9)] == [told(1), told(2)]


@pytest.mark.parametrize("before", [None, "on"], ids=["never-turned", "on"])
async def test_of_many_who_turn_a_switch_from_one_value_at_once_one_does(ledger, before):
    answers = []

    async def trip(number):
        trip = switch(value="frozen", mark=number)
        answers.append((await ledger.turn(trip, told(number), only_from=before or ""), number))

    with trio.fail_after(5):
        if before:
            await ledger.turn(switch(value=before), told("before"))
        async with trio.open_nursery() as nursery:
            for number in range(16):
                nursery.start_soon(trip, number)
        (won,) = [number for turned, number in answers if turned]
        assert await ledger.switches() == (switch(value="frozen", mark=won),)
        *_, last = await ledger.trail(HOUSE, after=0, limit=99)
    assert (last.entry, last.seq) == (told(won), 2 if before else 1)


async def test_a_ledger_that_is_down_says_so_and_no_verb_waits_without_a_deadline_f20_f33(ledger_and_faults):
    ledger, faults = ledger_and_faults
    cursor = DeviceCursor("resort", "d1", "c1", AS_OF)
    verbs = [
        lambda: ledger.mirrored("resort", "ann"),
        lambda: ledger.mirror(mirror()),
        lambda: ledger.mirrors(after=("", ""), limit=9),
        lambda: ledger.cursor("resort", "d1"),
        lambda: ledger.keep_cursor(cursor),
        lambda: ledger.mark_diverged(cursor),
        lambda: ledger.cursors(after=("", ""), limit=9),
        ledger.switches,
        lambda: ledger.turn(switch(), told(1)),
    ]
    for verb in verbs:
        with pytest.raises(Unbounded):
            await verb()
    with trio.fail_after(5):
        faults.down()
        assert {type(await verb()) for verb in verbs} == {Down}
        await faults.start(ledger.ping)
