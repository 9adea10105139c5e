"""The sweep of the gate: whatever is wrong with a request at once, the first rung that holds answers, over the wire.

Singly: each thing that can be wrong, and every subset of the rungs with the first of each one's. With pairs: every
combination of one thing, or nothing, of every rung up to the tier; and of the tier and what is above it, with every
subset of the firsts of the others.

Rungs 7 to 9 are about what a route demands. What they have to say against a request is asked for twice: over the wire,
of a read, which goes on without; and of the server's own ladder, with all the demands of a sensitive mutation.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import combinations, product
from typing import TYPE_CHECKING, Final

import trio

from bff.config import Rates
from bff.facts import RungRefused
from bff.gate.ladder import Demands, climb
from bff.problem import Problem
from bff.wire.asgi import Request
from bff.wire.trace import ServerTiming
from chaos.hotel.instance import DESK_SIDE
from chaos.hotel.sweeps.attempt import FOR, PATH, Attempt
from chaos.hotel.sweeps.batch import in_worlds
from chaos.hotel.sweeps.tries import WHO
from chaos.hotel.sweeps.wrongs import SUSPENDED, WRONG
from chaos.hotel.world import open_world
from chaos.marks import Marks, told
from nurseries import within

if TYPE_CHECKING:
    from chaos.hotel.sweeps.batch import One
    from chaos.hotel.world import World
    from chaos.sweep import Ran

RATES: Final = Rates(requests=50.0, address=0.0, passwords=0.0, codes=0.0)
SECONDS: Final = 5.0  # for the ladder alone
PASSES: Final = (200, "")
NO_ANSWER: Final = (0, "")
TIER: Final = 7  # the first rung that only some routes ask
ABOVE: Final = 10
DEMANDS: Final = Demands(tier=True, keyed=True, attests=FOR)
NONE: Final = "nothing"


@dataclass(frozen=True, slots=True)
class GateCase:
    """What is wrong, in the order of the rungs: words of `WRONG`."""

    wrong: tuple[str, ...]

    @property
    def name(self) -> str:
        """`no-token + too-old`."""
        return " + ".join(self.wrong) or NONE

    @property
    def answer(self) -> tuple[int, str]:
        """What the first rung that holds answers: status and code."""
        return self.answer_to(below=ABOVE)

    def answer_to(self, *, below: int) -> tuple[int, str]:
        """What is answered where only the rungs `below` that one are asked."""
        ways = (WRONG[word] for word in self.wrong)
        return next((way.answer for way in ways if way.rung < below), PASSES)


class GateSweep:
    """`chaos.sweep.Sweep` of `GateCase`."""

    name = "gate"
    about = "every combination of what can be wrong with a request: the first rung that holds answers"

    def cases(self, *, pairs: bool) -> Sequence[GateCase]:
        if pairs:
            rungs = _by_rung()
            wide = {rung: ways for rung, ways in rungs.items() if rung <= TIER}
            high = {rung: ways if rung >= TIER else ways[:1] for rung, ways in rungs.items()}
            return list(dict.fromkeys([*_combined(wide), *_combined(high)]))
        firsts = [ways[0] for ways in _by_rung().values()]
        subsets = [GateCase(some) for size in range(len(firsts) + 1) for some in combinations(firsts, size)]
        return list(dict.fromkeys([*subsets, *(GateCase((word,)) for word in WRONG)]))

    def together(self, case: GateCase) -> Hashable:
        """A tenant is suspended in all of a world, or never."""
        return SUSPENDED in case.wrong

    def marks(self) -> Marks:
        """Every rung, and each answer that it has."""
        answers = dict.fromkeys((way.rung, way.answer[1]) for way in WRONG.values())
        return Marks([told(RungRefused, rung=rung, code=code) for rung, code in answers])

    def run(self, batch: Sequence[GateCase], seed: int, marks: Marks) -> Iterator[Ran]:
        suspended = any(SUSPENDED in case.wrong for case in batch)
        return in_worlds(batch, partial(_open_gate, seed, suspended=suspended), marks)


def _by_rung() -> Mapping[int, list[str]]:
    rungs: dict[int, list[str]] = {}
    for word, way in WRONG.items():
        rungs.setdefault(way.rung, []).append(word)
    return rungs


def _combined(rungs: Mapping[int, list[str]]) -> Iterator[GateCase]:
    """One thing, or nothing, of each."""
    for ways in product(*((None, *ways) for ways in rungs.values())):
        yield GateCase(tuple(word for word in ways if word is not None))


@asynccontextmanager
async def _open_gate(seed: int, *, suspended: bool) -> AsyncIterator[One[GateCase]]:
    async with open_world(seed=seed, rates=RATES) as world:
        attempts = _Attempts(world, await Attempt.of(world))
        if suspended:
            await attempts.suspend()
        yield attempts.case


class _Attempts:
    """One desk in one world, of whose requests something is wrong, again and again."""

    def __init__(self, world: World, honest: Attempt) -> None:
        self._world = world
        self._honest = honest
        self._client = world.client("stranger")
        self._number = 0

    async def suspend(self) -> None:
        """The tenant is suspended: tenant-service says so, and so does the tier; and the server has heard of it."""
        self._world.authority.stand(WHO.tenant, "suspended")
        with within(SECONDS):
            await self._world.stores.tier.set_tenant_status(self._honest.tenant, "suspended")
        said = await self._asked(self._next())
        assert said == WRONG[SUSPENDED].answer, f"suspended, and told {said}"

    async def case(self, case: GateCase) -> None:
        """Raises `AssertionError` where it was answered otherwise."""
        await self._judged(case, case.answer_to(below=TIER))
        if any(WRONG[word].rung >= TIER for word in case.wrong) or not case.wrong:
            said = await self._climbed(self._attempt(case))
            assert said == case.answer, f"the ladder said {said}, not {case.answer}"

    async def _judged(self, case: GateCase, expected: tuple[int, str]) -> None:
        said = await self._asked(self._attempt(case))
        assert said == expected, f"told {said}, not {expected}"

    async def _prepared(self, attempt: Attempt) -> None:
        with within(SECONDS):
            await attempt.prepare()

    def _next(self) -> Attempt:
        self._number += 1
        return self._honest.next(self._number)

    def _attempt(self, case: GateCase) -> Attempt:
        attempt = self._next()
        for word in case.wrong:
            WRONG[word].do(attempt)
        return attempt

    async def _asked(self, attempt: Attempt) -> tuple[int, str]:
        """Over the wire: status and code."""
        await self._prepared(attempt)
        headers, said = attempt.headers(), NO_ANSWER
        with attempt.undo, within(SECONDS):
            attempt.begin(headers)
            answer = await self._client.get(f"http://bff{PATH}?{attempt.query}", headers=headers)
            said = answer.status_code, "" if answer.is_success else str(answer.json()["code"])
        await trio.sleep(attempt.rest)
        return said

    async def _climbed(self, attempt: Attempt) -> tuple[int, str]:
        """At the ladder, with all its demands."""
        await self._prepared(attempt)
        headers, said = attempt.headers(), NO_ANSWER
        raw = ((b"host", b"bff"), *((name.encode(), value.encode()) for name, value in headers.items()))
        request = Request("GET", PATH, attempt.query, raw, "http", DESK_SIDE[0])
        with attempt.undo, ExitStack() as stay, within(SECONDS):
            attempt.begin(headers)
            result = await climb(attempt.gate, request, DEMANDS, stay=stay, timing=ServerTiming())
            said = (result.status, result.code.word) if isinstance(result, Problem) else PASSES
        await trio.sleep(attempt.rest)
        return said
