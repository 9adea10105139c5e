"""The sweep of takeovers: the owner of a mutation is lost at every checkpoint of it, and another goes on (F-4, F-32).

`crashes` has the usual end of that story: a server dies, and its desk asks the next one. Here it ends otherwise:

    alone    it is killed, and nobody asks again: what nobody knows is settled all the same
    twice    it is killed, and so is the one that goes on, at the same checkpoint
    slow     it stands still, and what it has sent is under way; its desk goes to another server, is answered there, and
             only then the first one goes on, with what it believes

The service does what it is asked, or one of the things that `crashes.FAULTS` names, till the first owner is lost.
Afterwards there is one effect, one answer, one event, and a whole trail; and nothing is left open.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Final

import trio

from bff.facts import KeyTakenOver, MutationConcluded
from bff.jobs import settle_claims
from bff.model import TenantId
from bff.writes.actions import ACTIONS
from bff.writes.mutation import DOMAIN_EVENTS, LEASE
from bff.writes.settling import NEVER_CAME
from chaos.choices import Replayed
from chaos.hotel.checks.chain import Witness, judge_ledger
from chaos.hotel.checks.once import Answers, effects, judge_effects, judge_events
from chaos.hotel.fleet.changes import MUTATION_SECONDS, tried_by
from chaos.hotel.fleet.changing import Changing
from chaos.hotel.stores.held import HeldLedger
from chaos.hotel.sweeps.batch import in_worlds
from chaos.hotel.sweeps.crashes import FAULTS
from chaos.hotel.world import SimStores, open_world
from chaos.marks import Marks, told
from chaos.sim.clock import simulate
from chaos.toxics import split
from nurseries import at_checkpoint, count_checkpoints, within

if TYPE_CHECKING:
    from bff.stores.keys import KeyId
    from chaos.hotel.fleet.changes import Tried
    from chaos.hotel.fleet.changing import Change
    from chaos.hotel.fleet.desk import Desk
    from chaos.hotel.instance import Instance
    from chaos.hotel.sweeps.batch import One
    from chaos.hotel.world import World
    from chaos.sweep import Ran

WAYS: Final = ("alone", "twice", "slow")
FIRST, SECOND = "bff", "bff-2"
TOLD: Final = 0.1  # seconds after an answer by which the other desks have been told
IDLE: Final = 10.0  # seconds in which a server that has nothing to do has many checkpoints
PATIENT: Final = 3 * LEASE + 3 * MUTATION_SECONDS  # seconds: the longest that a desk has to ask again
SETTLED: Final = LEASE + settle_claims.DESKS_OWN + 2 * settle_claims.EVERY  # seconds, by which it is known; and
HEARD_OF: Final = NEVER_CAME  # so many more for what a service may not have heard of yet
RELAYED: Final = 3.0  # seconds in which a server that has just come takes up what the one before it has left


@dataclass(frozen=True, slots=True)
class TakeoverCase:
    """The owner of one mutation is lost in one way, at one checkpoint, counted from 1."""

    action: str
    fault: str
    way: str
    checkpoint: int

    @property
    def name(self) -> str:
        """`folio.charge hang slow at 12`."""
        return f"{self.action} {self.fault} {self.way} at {self.checkpoint}"


class TakeoverSweep:
    """`chaos.sweep.Sweep` of `TakeoverCase`."""

    name = "takeovers"
    about = "an owner of a mutation that dies or stands still at every checkpoint of it, and who goes on with it then"

    def cases(self, *, pairs: bool) -> Sequence[TakeoverCase]:  # noqa: ARG002  `twice` is all the pairs that there are
        """Mutation by mutation, fault by fault, way by way."""
        return [
            TakeoverCase(action, fault, way, number)
            for (action, fault), count in checkpoints().items()
            for way in WAYS
            for number in range(1, count + 1)
        ]

    def together(self, case: TakeoverCase) -> Hashable:
        return case.action, case.fault, case.way

    def marks(self) -> Marks:
        """Of each mutation: it was taken over from an owner who was lost, and an outcome that nobody knew was found."""
        taken = (told(KeyTakenOver, action=name, before="abandoned") for name in ACTIONS)
        unknown = (told(MutationConcluded, action=name, state="uncertain", outcome="uncertain") for name in ACTIONS)
        return Marks([*taken, *unknown])

    def run(self, batch: Sequence[TakeoverCase], seed: int, marks: Marks) -> Iterator[Ran]:
        """Each in a world of its own: what an owner leaves behind is nobody else's."""
        for case in batch:
            yield from in_worlds([case], partial(_open_case, seed, case.way), marks)


@cache
def checkpoints() -> Mapping[tuple[str, str], int]:
    """How many each mutation has under each fault, in runs of their own: to be called outside of any."""
    return {
        (action, fault): simulate(_counted, action, fault, choices=Replayed(()))
        for action in ACTIONS
        for fault in FAULTS
    }


async def _counted(action: str, fault: str) -> int:
    async with _opened(0, (FIRST,)) as stage:
        return await stage.count(action, fault)


@asynccontextmanager
async def _opened(seed: int, servers: Sequence[str]) -> AsyncIterator[_Stage]:
    async with open_world(seed=seed, servers=()) as world:
        lines = HeldLedger()
        world.stores = SimStores(ledger=lines)
        for name in servers:
            await world.serve(name)
        yield _Stage(world, lines, [await world.desk(server=name) for name in servers])


@asynccontextmanager
async def _open_case(seed: int, way: str) -> AsyncIterator[One[TakeoverCase]]:
    async with _opened(seed, (FIRST, SECOND) if way == "slow" else (FIRST,)) as stage:
        yield stage.case


@dataclass(frozen=True, slots=True)
class Deed:
    """A change that is asked for again and again, by `desk`, with the second factor that it needs."""

    change: Change
    key: str
    desk: Desk
    attestation: str | None


class _Stage:
    """One world: a server or two, and one person with a desk at each of them."""

    def __init__(self, world: World, ledger: HeldLedger, desks: Sequence[Desk]) -> None:
        self._world = world
        self._ledger = ledger
        self._line = ledger.lines[0]
        self._desks = desks
        self._changing = Changing(world.hotel.operators[0])
        self._answers = Answers()
        self._witness = Witness(world.estate.doors["lock-integration"].service, self._intended)
        self._keys: list[str] = []

    def _intended(self, key: KeyId) -> bool:
        rows = self._ledger.trail.rows.values()
        return any(row.kind == "intent" and row.action == (key.tenant, key.operator, key.key) for row in rows)

    @property
    def _server(self) -> Instance:
        return self._world.servers[FIRST]

    async def count(self, action: str, fault: str) -> int:
        """The checkpoints of the server in one mutation, till all is told."""
        deed = await self._next(action)
        self._strike(action, fault)
        with count_checkpoints(root=self._server.task) as counted:
            await self._ask(deed)
            await trio.sleep(TOLD)
        self._world.clear()
        return counted.checkpoints

    async def case(self, case: TakeoverCase) -> None:
        """One owner who is lost, and what comes of it. Raises `AssertionError` for what is wrong afterwards."""
        deed = await self._next(case.action)
        before, events = effects(self._world.estate), self._events()
        self._strike(case.action, case.fault)
        match case.way:
            case "slow":
                await self._stands_still(deed, case.checkpoint)
            case "twice":
                await self._killed(deed, case.checkpoint)
                await trio.sleep(LEASE)
                await self._killed(deed, case.checkpoint)
            case _:
                await self._killed(deed, case.checkpoint)
                await self._is_settled(deed)
        answer = await self._answered(deed)
        assert answer.status == ACTIONS[case.action].status, f"answered {answer}"
        await self._ask(deed)
        await trio.sleep(RELAYED)
        await self._judge(before, events)

    # -- one change ---------------------------------------------------------------------------------------------

    async def _next(self, action: str) -> Deed:
        """Something new to do, where each server has done such a thing before: all that it needs is there."""
        for desk in self._desks:
            tried = await self._ask(await self._deed(self._changing.next(action), desk))
            assert tried.status == ACTIONS[action].status, f"before the case: {tried}"
        await trio.sleep(TOLD)
        self._answers = Answers()
        return await self._deed(self._changing.next(action), self._desks[0])

    async def _deed(self, change: Change, desk: Desk) -> Deed:
        self._keys.append(f"key-{len(self._keys) + 1}")
        return Deed(change, self._keys[-1], desk, await self._attested(change, desk))

    async def _attested(self, change: Change, desk: Desk) -> str | None:
        if not change.attests:
            return None
        return await desk.step_up(change.action, change.attests, self._world.hotel.operators[0].mfa_code)

    async def _ask(self, deed: Deed) -> Tried:
        change = deed.change
        tried = await tried_by(
            deed.desk, change.path, change.body, deed.key, attestation=deed.attestation, method=change.method
        )
        self._answers.heard(change.action, deed.key, tried)
        return tried

    async def _answered(self, deed: Deed) -> Tried:
        """Asked again till there is an answer. Raises `AssertionError` where there is none in time."""
        heard: list[str] = []
        with within(PATIENT):
            while True:
                tried = await self._ask(deed)
                if tried.again is None:
                    return tried
                heard.append(tried.code)
                await trio.sleep(tried.again)
        raise AssertionError(f"not answered in {PATIENT:g} s: {', '.join(heard)}")

    # -- who is lost --------------------------------------------------------------------------------------------

    def _strike(self, action: str, fault: str) -> None:
        if FAULTS[fault]:
            self._world.inject(ACTIONS[action].operation.service, split(FAULTS[fault]))

    async def _until(self, number: int, deed: Deed, act: Callable[[], object]) -> None:
        """Ask, and `act` at that checkpoint; whoever has waited for an answer till then waits no longer."""
        now = trio.Event()

        def at_last() -> None:
            act()
            now.set()

        with at_checkpoint(number, at_last, root=self._server.task) as counted:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ask, deed)
                with within(MUTATION_SECONDS + IDLE):
                    await now.wait()
                nursery.cancel_scope.cancel(reason="it asks elsewhere")
        assert counted.checkpoints >= number, f"it has {counted.checkpoints} checkpoints"

    async def _killed(self, deed: Deed, number: int) -> None:
        await self._until(number, deed, self._unplug)
        await self._server.kill()
        await self._world.serve(FIRST)
        self._world.clear()

    def _unplug(self) -> None:
        """In that very moment nobody reaches the first server any more; its tasks end in the next."""
        self._server.listening.close()
        self._server.listening.cut()

    async def _stands_still(self, deed: Deed, number: int) -> None:
        """The operator goes to her other desk, at the second server; the first one wakes up when all is done there."""
        with ExitStack() as held:
            await self._until(number, deed, partial(self._hold, held))
            self._world.clear()
            other = self._desks[1]
            await self._answered(replace(deed, desk=other, attestation=await self._attested(deed.change, other)))
        self._line.free()
        await trio.sleep(LEASE + MUTATION_SECONDS)  # as long as it insists

    def _hold(self, held: ExitStack) -> None:
        """Nobody hears of the first server, nor it of them: no store, no service, and no desk."""
        self._line.hold()
        others = [door.host for door in self._world.estate.doors.values()] + [desk.device for desk in self._desks]
        held.enter_context(self._world.network.partition(FIRST, others))

    async def _is_settled(self, deed: Deed) -> None:
        """Nothing is open after a while, though nobody has asked again."""
        action = ACTIONS[deed.change.action]
        await trio.sleep(SETTLED + (HEARD_OF if action.audited else 0.0))
        with within(MUTATION_SECONDS):
            open_ = await self._ledger.session().unsettled(older_than=0.0, limit=10)
            assert open_ == (), f"{action.name} {deed.key} is open still: {open_}"

    # -- what must be so ----------------------------------------------------------------------------------------

    def _events(self) -> int:
        return self._world.authority.pubsub.published(DOMAIN_EVENTS).total

    async def _judge(self, before: Mapping[str, int], events: int) -> None:
        succeeded = self._answers.succeeded
        judge_effects(before, effects(self._world.estate), succeeded)
        judge_events(self._world.authority.pubsub, DOMAIN_EVENTS, events, 1)
        assert not self._witness.unasked, f"done without an intent: {self._witness.unasked}"
        tenant = TenantId(self._world.hotel.operators[0].tenant_id)
        of_locks = any(ACTIONS[name].audited for name in succeeded)
        with within(MUTATION_SECONDS):  # the trail has what was done to warm up, too
            await judge_ledger(self._ledger.session(), tenant, set(self._keys) if of_locks else set())
