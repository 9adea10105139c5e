"""The sweep of crashes: a server dies at every checkpoint of a mutation, and its desk tries again (F-4, F-32).

A mutation is done once to count the checkpoints that its server has, from the arrival of the request till the other
desks have been told; then once for each of them, under each thing that its service can do meanwhile:

    fine          it does what it is asked
    hang          it takes the request, and says nothing
    lose-answer   it does it, and the answer is lost
    503           it fails

The server is killed there, and another one starts at its address, with nothing but what the stores keep. The service
is healed, and the desk asks with the same key till it is answered. Afterwards there is one effect, one answer, one
event, and a whole trail; and nothing is left open.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Hashable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from bff.facts import KeyReplayed, KeyTakenOver, LettersPublished, MutationConcluded
from bff.model import Down, OperatorId, TenantId
from bff.stores.mirrors import Mirror
from bff.writes.actions import ACTIONS, REVOKE_KEY, SAVE_PREFERENCES, Action
from bff.writes.audit import Chain, Entry
from bff.writes.mutation import DOMAIN_EVENTS, LEASE
from chaos.choices import Replayed
from chaos.hotel.fleet.changes import MUTATION_SECONDS, Tried, tried_by
from chaos.hotel.fleet.spree import KINDS, Errand, Share, issue, supplies
from chaos.hotel.sweeps.batch import in_worlds
from chaos.hotel.world import open_world
from chaos.marks import Marks, told
from chaos.sim.clock import simulate
from nurseries import at_checkpoint, count_checkpoints, within

if TYPE_CHECKING:
    from chaos.hotel.fleet.desk import Desk
    from chaos.hotel.fleet.spree import Supplies
    from chaos.hotel.sweeps.batch import One
    from chaos.hotel.world import World
    from chaos.sweep import Ran

FAULTS: Final[Mapping[str, str]] = {"fine": "", "hang": "hang", "lose-answer": "lose-answer", "503": "status code=503"}
TOLD: Final = 0.1  # seconds after an answer by which the other desks have been told
DIES: Final = 10.0  # seconds in which a server that is idle has a few checkpoints more
PATIENT: Final = LEASE + 3 * MUTATION_SECONDS  # seconds: the longest that a desk has to ask again
ROWS: Final = 1000  # of a trail; a case leaves fewer
RELAYED: Final = 3.0  # seconds in which a server that has just come takes up what the one before it has left


@dataclass(frozen=True, slots=True)
class CrashCase:
    """A server dies at one checkpoint of one mutation, counted from 1, while its service does what `fault` says."""

    action: str
    fault: str
    checkpoint: int

    @property
    def name(self) -> str:
        """`folio.charge hang at 12`."""
        return f"{self.action} {self.fault} at {self.checkpoint}"


class CrashSweep:
    """`chaos.sweep.Sweep` of `CrashCase`."""

    name = "crashes"
    about = "a server that dies at every checkpoint of a mutation, whatever its service does, and the desk tries again"

    def cases(self, *, pairs: bool) -> Sequence[CrashCase]:  # noqa: ARG002  nobody dies twice
        """Mutation by mutation, fault by fault."""
        return [
            CrashCase(action, fault, number)
            for (action, fault), count in checkpoints().items()
            for number in range(1, count + 1)
        ]

    def together(self, case: CrashCase) -> Hashable:
        return case.action, case.fault

    def marks(self) -> Marks:
        """Keys were left in flight and taken over, were answered from the record, and left uncertain."""
        return Marks(
            [
                *(told(KeyTakenOver, action=name, before="abandoned") for name in ACTIONS),
                *(told(KeyReplayed, action=name) for name in ACTIONS),
                *(told(MutationConcluded, action=name, state="uncertain", outcome="uncertain") for name in ACTIONS),
                told(LettersPublished, topic=DOMAIN_EVENTS),
            ]
        )

    def run(self, batch: Sequence[CrashCase], seed: int, marks: Marks) -> Iterator[Ran]:
        """Each in a world of its own: what a crash leaves behind is nobody else's."""
        for case in batch:
            yield from in_worlds([case], partial(_open_crash, seed), marks)


@cache
def checkpoints() -> Mapping[tuple[str, str], int]:
    """How many each mutation has under each fault, in runs of their own: to be called outside of any."""
    counts: dict[tuple[str, str], int] = {}
    for fault in FAULTS:
        counts |= simulate(_counted, fault, choices=Replayed(()))
    return {(action, fault): counts[action, fault] for action in ACTIONS for fault in FAULTS}


async def _counted(fault: str) -> dict[tuple[str, str], int]:
    async with _opened(0) as stage:
        return {(name, fault): await stage.count(ACTIONS[name], fault) for name in ACTIONS}


@asynccontextmanager
async def _opened(seed: int) -> AsyncIterator[_Stage]:
    async with open_world(seed=seed) as world:
        desk = await world.desk()
        yield _Stage(world, desk, await supplies(desk, Share(0, 1, 1), random.Random(seed)))


@asynccontextmanager
async def _open_crash(seed: int) -> AsyncIterator[One[CrashCase]]:
    async with _opened(seed) as stage:
        yield stage.case


@dataclass(frozen=True, slots=True)
class _Deed:
    """One mutation as the desk asks for it, again and again."""

    action: Action
    errand: Errand
    key: str
    attestation: str | None

    async def asked(self, desk: Desk) -> Tried:
        """One try."""
        errand, method = self.errand, "PUT" if self.action is SAVE_PREFERENCES else "POST"
        return await tried_by(desk, errand.path, errand.body, self.key, attestation=self.attestation, method=method)


class _Stage:
    """One world with one desk, which does one thing after the other."""

    def __init__(self, world: World, desk: Desk, has: Supplies) -> None:
        self._world = world
        self._desk = desk
        self._has = has
        self._keys = 0
        self._saved = 0

    async def count(self, action: Action, fault: str) -> int:
        """The checkpoints of the server in one mutation, till all is told."""
        deed = await self._warm(action)
        with self._struck(action, fault), count_checkpoints(root=self._world.servers["bff"].task) as counted:
            await deed.asked(self._desk)
            await trio.sleep(TOLD)
        return counted.checkpoints

    async def case(self, case: CrashCase) -> None:
        """One crash, and what the desk does then. Raises `AssertionError` for what is wrong afterwards."""
        deed = await self._warm(ACTIONS[case.action])
        account = Account(self._world, deed.action)
        with self._struck(deed.action, case.fault):
            first = await self._dying(deed, case.checkpoint)
            await self._world.serve()
        answer = await self._answered(deed)
        again = await deed.asked(self._desk)
        await trio.sleep(RELAYED)
        assert (answer.status, answer.word in {"done", "replayed"}) == (deed.action.status, True), f"answered {answer}"
        heard = [one for one in (first, answer, again) if one.again is None]
        assert {(one.status, one.body) for one in heard} == {(answer.status, answer.body)}, f"two answers: {heard}"
        assert again.replayed, "an answer that was given before, and is not said to be"
        await account.judge(deed.key, self._desk)

    async def _warm(self, action: Action) -> _Deed:
        """The server has done such a thing before: connections are there, and so is a trail."""
        if action is REVOKE_KEY:
            for _ in range(2):
                errand = issue(self._has)
                said = await self._desk.change(errand.path, errand.body, self._key())
                self._has.done(errand, said.body)
        before = await self._deed(action)
        tried = await before.asked(self._desk)
        assert tried.status == action.status, f"before the case: {tried}"
        deed = await self._deed(action)
        await trio.sleep(TOLD)
        return deed

    async def _deed(self, action: Action) -> _Deed:
        errand = self._preferences() if action is SAVE_PREFERENCES else KINDS[action.name](self._has)
        assert errand is not None, f"nothing left for {action.name}"
        code = self._world.hotel.operators[0].mfa_code
        attestation = await self._desk.step_up(action.attests, errand.attests, code) if action.attests else None
        return _Deed(action, errand, self._key(), attestation)

    def _preferences(self) -> Errand:
        self._saved += 1
        return Errand(SAVE_PREFERENCES.name, "/v1/preferences", {"version": self._saved, "values": {"n": self._saved}})

    def _key(self) -> str:
        self._keys += 1
        return f"key-{self._keys}"

    @contextmanager
    def _struck(self, action: Action, fault: str) -> Iterator[None]:
        if FAULTS[fault]:
            self._world.inject(action.operation.service, FAULTS[fault])
        try:
            yield
        finally:
            self._world.clear()

    async def _dying(self, deed: _Deed, number: int) -> Tried:
        """What the desk hears of the server that dies; where it was answered before, that."""
        server, now, heard = self._world.servers["bff"], trio.Event(), []

        async def ask() -> None:
            heard.append(await deed.asked(self._desk))

        with at_checkpoint(number, now.set, root=server.task) as counted:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                with within(MUTATION_SECONDS + DIES):
                    await now.wait()
                await server.kill()
        assert counted.checkpoints >= number, f"it has {counted.checkpoints} checkpoints"
        return heard[0]

    async def _answered(self, deed: _Deed) -> Tried:
        """Asked again till there is an answer. Raises `AssertionError` where there is none in time."""
        heard: list[str] = []
        with within(PATIENT):
            while True:
                tried = await deed.asked(self._desk)
                if tried.again is None:
                    return tried
                assert tried.told or not tried.status, f"told no time to come again: {tried}"
                heard.append(tried.code)
                await trio.sleep(tried.again)
        raise AssertionError(f"not answered in {PATIENT:g} s: {', '.join(heard)}")


class Account:
    """What one mutation may have changed, counted from now on, at its service, in the stores and at the topic."""

    def __init__(self, world: World, action: Action) -> None:
        self._world = world
        self._action = action
        self._count = world.estate.doors[action.operation.service].service.counts[action.operation.name]
        self._effects = self._count.effects
        self._events = self._published()
        self._tenant = TenantId(world.hotel.operators[0].tenant_id)

    def _published(self) -> int:
        return self._world.authority.pubsub.published(DOMAIN_EVENTS).total

    async def judge(self, key: str, desk: Desk) -> None:
        """All is as if nothing had happened but one mutation with this key. Raises `AssertionError`."""
        effects = self._count.effects - self._effects
        assert effects == 1, f"{effects} effects"
        new = self._world.authority.pubsub.published(DOMAIN_EVENTS, after=self._events).messages
        ids = {one.message_id for one in new}
        assert len(ids) == 1, f"{len(ids)} events: {[one.data for one in new]}"
        pending = [f"{one.state} {one.asked.id.key}" for one in self._world.stores.ledger.keys.pending.values()]
        assert not pending, f"nobody knows what came of: {pending}"
        with within(MUTATION_SECONDS):
            await self._nothing_waits()
            await self._whole(key)
            await self._mirrored(desk)

    async def _nothing_waits(self) -> None:
        backlog = await self._world.stores.ledger.session().backlog()
        assert not isinstance(backlog, Down)
        assert (backlog.depth, backlog.dead) == (0, 0), f"not told: {backlog}"

    async def _whole(self, key: str) -> None:
        """The trail is one chain; of this key intents and outcomes take turns, and the last one is a success."""
        session, chain = self._world.stores.ledger.session(), Chain(self._tenant)
        rows = await session.trail(self._tenant, after=0, limit=ROWS)
        measured = await session.lock_completeness(grace=0.0)
        assert not isinstance(rows, Down)
        assert not isinstance(measured, Down)
        assert chain.follow(rows) is None, f"the trail is broken: {chain.seq}"
        assert not measured.gaps, f"the trail has gaps: {measured.gaps}"
        entries = [msgspec.json.decode(row.entry, type=Entry) for row in rows]
        said = [entry.outcome or entry.kind for entry in entries if entry.key == key]
        if not self._action.audited:
            assert not said, f"in the trail, and no lock's: {said}"
            return
        assert _is_whole(said), f"the trail says {said}"

    async def _mirrored(self, desk: Desk) -> None:
        """The copy of preferences is what was saved."""
        if self._action.mirrored:
            seen, who = await desk.get("/v1/preferences"), OperatorId(self._world.hotel.operators[0].operator_id)
            kept = await self._world.stores.ledger.session().mirrored(self._tenant, who)
            assert isinstance(kept, Mirror), f"no copy is kept: {kept}"
            assert kept.version == seen.body["version"], f"version {seen.body['version']}, and a copy of {kept.version}"


def _is_whole(said: Sequence[str]) -> bool:
    """An intent has an outcome before the next one; one that is uncertain may have another, and the last is success."""
    before = ""
    for one in said:
        if before == "intent" if one == "intent" else before not in {"intent", "uncertain"}:
            return False
        before = one
    return before == "success"
