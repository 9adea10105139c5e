"""What one dashboard cannot reach: breakers that open and close, crowds, desks that leave, services that hang up.

breaker     the fault stays until the breaker opens, is probed and opens again; then it is healed
flapping    the service fails every other time: never five in a row, and still too often
crowd       more desks at once than a service has connections and places for
leaving     the desk goes away before its answer
killed      the server is killed under a dashboard, and another takes its place
closing     the service ends the connection with each of its answers
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import trio

from bff.house import POOL
from chaos.hotel.checks.answers import TABLE, states
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.instance import PORT
from chaos.hotel.sweeps.expected import OPEN, Situation, counts, expected, heard, heard_at, untouched
from chaos.hotel.sweeps.looks import SERVICES, Looks
from chaos.sweep import Fault, FaultCase
from chaos.toxics import Down, Hang, Status
from nurseries import BreakerRule, within

if TYPE_CHECKING:
    from chaos.hotel.fleet.desk import Desk, Seen
    from chaos.hotel.sweeps.expected import Heard
    from chaos.toxics import Toxic

Episode = Callable[[Looks, Sequence[Fault]], Awaitable[None]]

RULE: Final = BreakerRule()
CROWD: Final = (POOL.per_origin + POOL.waiting) // 3 + 1  # desks: reservation is asked three times for each
BUSY: Final = 20  # desks, afterwards
EACH: Final = 60  # of them through one client, which has 64 connections
GOES_AFTER: Final = 0.1  # seconds
REFUSAL: Final = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


def episodes(toxics: Iterable[Toxic]) -> list[FaultCase]:
    """All of them: a breaker of each service, and of one service with each fault; the others once."""
    failing = Status()
    ways = [Fault("pricing", toxic) for toxic in toxics]
    ways += [Fault(service, failing) for service in SERVICES if service != "pricing"]
    return [
        *(FaultCase((fault,), "breaker") for fault in ways),
        FaultCase((Fault("pricing", failing),), "flapping"),
        FaultCase((Fault("reservation", Hang()),), "crowd"),
        FaultCase((Fault("pricing", Hang()),), "leaving"),
        FaultCase((Fault("pricing", Hang()),), "killed"),
        FaultCase((Fault("pricing", failing),), "closing"),
    ]


def _whole(looks: Looks) -> dict[str, tuple[Heard, ...]]:
    """What is heard of services that all work, over whatever connections there are."""
    calls = {}
    for service in SERVICES:
        ways = [untouched(Situation(looks.ways[service], connected=connected)) for connected in (True, False)]
        calls[service] = tuple(ways)
    return calls


def _failing(looks: Looks, fault: Fault) -> dict[str, tuple[Heard, ...]]:
    """The same while one of them has failed for a while."""
    ways = (Situation(looks.ways[fault.target], -1.0, connected=connected) for connected in (True, False))
    return {**_whole(looks), fault.target: tuple(one for at in ways for one in heard(fault.toxic, at))}


async def _look(looks: Looks, calls: Mapping[str, tuple[Heard, ...]]) -> Seen:
    looks.world.stores.cache.flush()
    seen = await looks.desk.dashboard()
    expected(calls, reserve=looks.reserve).check(seen)
    await looks.world.quiet()
    return seen


async def _breaker(looks: Looks, faults: Sequence[Fault]) -> None:
    (fault,) = faults
    failing = _failing(looks, fault)
    opens = all(counts(fault.toxic, one.word) or one.earliest > looks.reserve for one in failing[fault.target])
    refused = {**_whole(looks), fault.target: (heard_at(OPEN, 0.0),)} if opens else failing
    looks.world.inject(fault.target, fault.toxic)
    for _ in range(RULE.consecutive):
        await _look(looks, failing)
    await _look(looks, refused)
    await looks.later(RULE.open_for)
    await _look(looks, failing)  # the probe
    await _look(looks, refused)
    looks.world.clear()
    await looks.later(RULE.open_for)
    await looks.healed()


async def _flapping(looks: Looks, faults: Sequence[Fault]) -> None:
    (fault,) = faults
    await looks.later(RULE.window)
    for _ in range(RULE.volume // 2):
        await _look(looks, _whole(looks))
        looks.world.inject(fault.target, fault.toxic)
        await _look(looks, _failing(looks, fault))
        looks.world.clear()
    await _look(looks, {**_whole(looks), fault.target: (heard_at(OPEN, 0.0),)})
    await looks.later(RULE.open_for)
    await looks.healed()


async def _crowd(looks: Looks, faults: Sequence[Fault]) -> None:
    """Whoever finds no place is told so, and nobody waits longer for it than till the answer is composed."""
    for fault in faults:
        looks.world.inject(fault.target, fault.toxic)
    found = [states(seen) for seen in await _at_once(looks, CROWD)]
    for fault in faults:
        mine = {name for name, row in TABLE.items() if row.service == fault.target}
        wrong = {seen[name] for seen in found for name in mine} - {"UPSTREAM_TIMEOUT", "OVERLOADED"}
        assert not wrong, f"in a crowd {fault.target} is {', '.join(sorted(wrong))}"
        assert all(seen[name] == "ok" for seen in found for name in TABLE.keys() - mine), "a crowd costs others too"
    await looks.world.quiet()
    looks.world.clear()
    await looks.later(RULE.open_for)
    await looks.healed()  # one probe at a time: a crowd finds the breakers closed again
    whole = [states(seen) for seen in await _at_once(looks, BUSY)]
    assert all(set(seen.values()) == {"ok"} for seen in whole), "after a crowd it is not whole"
    await looks.world.quiet()


async def _at_once(looks: Looks, desks: int) -> list[Seen]:
    """So many dashboards in one moment, each by its deadline."""
    looks.world.stores.cache.flush()
    askers = [await looks.world.desk() for _ in range(-(-desks // EACH))]
    seen: list[Seen] = []

    async def look(desk: Desk) -> None:
        seen.append(await desk.dashboard())

    async with trio.open_nursery() as nursery:
        for number in range(desks):
            nursery.start_soon(look, askers[number // EACH])
    late = [one.took for one in seen if one.took > looks.reserve + 1e-6]
    assert not late, f"{len(late)} of {desks} dashboards came late, at {max(late):.6f} s"
    return seen


async def _leaving(looks: Looks, faults: Sequence[Fault]) -> None:
    for fault in faults:
        looks.world.inject(fault.target, fault.toxic)
    with within(GOES_AFTER) as impatient:
        await looks.desk.dashboard()
    assert impatient.cancelled_caught, "it was answered before the desk could leave"
    await looks.world.quiet()
    await looks.healed()


async def _killed(looks: Looks, faults: Sequence[Fault]) -> None:
    for fault in faults:
        looks.world.inject(fault.target, fault.toxic)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_refused_at, looks, began + GOES_AFTER)
        await trio.sleep_until(began + GOES_AFTER)
        await looks.world.servers["bff"].kill()
    await looks.world.quiet()
    await looks.world.serve()
    looks.world.clear()
    await looks.desk.dashboard()  # it asks for iam's keys first
    await looks.world.quiet()
    await looks.healed()


async def _refused_at(looks: Looks, at: float) -> None:
    """The desk learns at once that it gets no answer, and may ask again."""
    try:
        await looks.desk.dashboard()
    except Refused:
        assert trio.current_time() == at, f"told {trio.current_time() - at:.6f} s late that the server is gone"
        return
    raise AssertionError("answered by a server that was killed")


async def _closing(looks: Looks, faults: Sequence[Fault]) -> None:
    """A stand-in answers in the service's place, and hangs up: a process that is about to end, behind a balancer."""
    (fault,) = faults
    looks.world.inject(fault.target, Down())
    await looks.world.quiet()
    async with trio.open_nursery() as nursery:
        host = looks.world.estate.doors[fault.target].host
        stands_in = looks.world.network.listen(host, PORT, _refuse_and_close, nursery)
        await _look(looks, _failing(looks, fault))
        stands_in.close()
    await looks.healed()


async def _refuse_and_close(stream: trio.abc.Stream) -> None:
    await stream.receive_some()
    await stream.send_all(REFUSAL)


EPISODES: Final[Mapping[str, Episode]] = {
    "breaker": _breaker,
    "flapping": _flapping,
    "crowd": _crowd,
    "leaving": _leaving,
    "killed": _killed,
    "closing": _closing,
}
