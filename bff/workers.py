"""Several workers under a supervisor: one edge socket that all of them accept from, and one ops listener for all.

    supervisor    binds the edge once, and never accepts; replaces who dies; `ops/several.py` speaks for everybody
    worker 1..N   `bff serve` on the edge socket it inherits, with an ops listener of its own on loopback

Why one socket and not SO_REUSEPORT: there each process has a queue of its own, and what waits in it dies with the
process. Here the queue belongs to the socket, which lives while anybody has it: whoever is killed loses what it had
accepted, and nothing else. With nobody there to accept, connections wait for a replacement instead of being refused.

A worker cannot outlive its supervisor (`leash.py`). That is tied to the thread which spawned it, so it is spawned by
`Popen` on the main thread; `trio.run_process` would do it in a thread that leaves when it has been idle for a while.

Who lived for a while is replaced at once. Who keeps dying young is replaced after pauses that grow, so that a fault
which kills every worker at its start does not burn the machine.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import httpx
import msgspec
import trio

from bff.config import BadSetting
from bff.facts import WorkerEnded, WorkerReplaced
from bff.log import lines
from bff.ops.several import Door, Several
from bff.outside import fraction
from bff.serve import (
    GRACE_SECONDS,
    OPS_GRACE_SECONDS,
    OPS_LIMITS,
    Addresses,
    bound,
    ignore_signals,
    url_of,
)
from bff.wire.edge import serve_edge
from bff.wire.exchange import Bounds
from bff.wire.files import allow_many_files
from bff.wire.limits import EdgeConfig
from bff.wire.pool import Pool, PoolLimits
from bff.wire.transport import TrioTransport
from nurseries import Backoff, listening, open_owner, tell, within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from bff.config import Settings
    from bff.outside import Outside

STARTS_WITHIN: Final = 20.0  # seconds for a worker to say that it is ready
ENDS_WITHIN: Final = GRACE_SECONDS + 0.75  # for all of them together, once the end began
LONGEST_LINE: Final = 65_536
LIVED: Final = 1.0  # seconds of service; who had them is replaced at once
DIES_YOUNG: Final = Backoff(first=0.05, most=5.0, calm=10.0)
ASKING: Final = PoolLimits(answer=Bounds(body=16 << 20))  # an exposition grows with what there is to tell


class Ended(Exception):
    """A worker ended before its time, or never came to be; the text is one line."""


class _Line(msgspec.Struct):
    """What a worker says on standard output: where its ops listener is, or why it cannot be."""

    ops: str = ""
    cannot: str = ""


class Worker:
    """One place of a crew, and the process that has it now.

    Left to `stay`, a service for an owner. Before that it was begun, so that all of them start side by side.
    """

    def __init__(
        self, number: int, env: Mapping[str, str], edge: Sequence[trio.SocketListener], outside: Outside
    ) -> None:
        self.number = number
        self.replaced: Callable[[], object] = lambda: None
        self._env = env
        self._edge = edge
        self._outside = outside
        self._process: subprocess.Popen[bytes] | None = None
        self._token = self._url = ""
        self._turn("not started")

    @property
    def pid(self) -> int:
        """Whose place it is, or was."""
        return self._process.pid if self._process else 0

    @property
    def alive(self) -> bool:
        """Whether there is a process; asking reaps it."""
        return self._process is not None and self._process.poll() is None

    @property
    def door(self) -> Door:
        """Where it can be asked."""
        return Door(self.number, self.pid, self._url, self._token, self._since, self._why)

    def _turn(self, why: str, url: str = "") -> None:
        self._why, self._url, self._since = why, url, self._outside.now()

    def begin(self) -> None:
        """A process that is not ready yet, with a token of its own for its ops listener."""
        self._token = self._outside.entropy(24).hex()
        sockets = [listener.socket.fileno() for listener in self._edge]
        env = {**self._env, "BFF_OPS_BIND": "127.0.0.1:0", "BFF_OPS_TOKEN": self._token}
        told = f"{os.getpid()}:{','.join(map(str, sockets))}"
        self._process = subprocess.Popen(  # noqa: S603 - ourselves, with words of our own
            [sys.executable, "-P", "-m", "bff", "serve", "--json", "--as-worker", told],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            pass_fds=sockets,
            start_new_session=True,  # a Ctrl-C in the terminal is the supervisor's: it decides who ends when
        )
        self._turn("starting")

    async def ready(self) -> None:
        """Wait till it serves. Raises `BadSetting` as it would have been raised here, `Ended` for anything else."""
        assert self._process is not None, "begun"
        line = b""
        with within(STARTS_WITHIN):
            line = await _first_line(self._process)
            if not line:
                raise Ended(f"worker {self.number} did not start ({_told(await self._ended())})")
        if not line:
            self.kill()
            raise Ended(f"worker {self.number} was not ready within {STARTS_WITHIN:.0f} s")
        said = msgspec.json.decode(line, type=_Line)
        if said.cannot:
            raise BadSetting(said.cannot)
        self._turn("", said.ops)

    async def stay(self) -> None:
        """Replace whoever ends, for ever. Raises `Ended` where that was soon: who supervises knows when to pause."""
        while True:
            if not self.alive:
                await trio.lowlevel.checkpoint_if_cancelled()  # at the end nobody is replaced
                self.begin()
                await self.ready()
                tell(WorkerReplaced(self.number, self.pid))
                self.replaced()
            began = trio.current_time()
            code = await self._ended()
            lived = trio.current_time() - began
            self._turn(f"ended ({_told(code)})")
            tell(WorkerEnded(self.number, self.pid, code, lived))
            if lived < LIVED:
                raise Ended(f"worker {self.number} lived for {lived:.1f} s ({_told(code)})")

    async def _ended(self) -> int:
        """Its return code, once there is one; negative for a signal."""
        assert self._process is not None, "begun"
        while self._process.poll() is None:
            descriptor = os.pidfd_open(self._process.pid)  # not waited for yet, so the number is its own
            try:
                await trio.lowlevel.wait_readable(descriptor)
            finally:
                os.close(descriptor)
        return self._process.returncode

    async def gone(self) -> None:
        """Wait till there is nobody in the place."""
        if self._process is not None:
            await self._ended()

    def terminate(self) -> None:
        """Ask it to end; a second time, not to wait for what is under way. One that is frozen is thawed to hear it."""
        if self._process is not None and self.alive:
            self._process.send_signal(signal.SIGTERM)
            self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """At once, and reap it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Crew:
    """All the workers. `changed` is called with their process ids whenever one was replaced."""

    def __init__(self, workers: Sequence[Worker], changed: Callable[[tuple[int, ...]], None]) -> None:
        self.workers = workers
        self.ending = trio.CancelScope()
        self._changed = changed
        self._replaced = 0
        for worker in workers:
            worker.replaced = self._told

    @property
    def pids(self) -> tuple[int, ...]:
        """Whose places they are, in order."""
        return tuple(worker.pid for worker in self.workers)

    def doors(self) -> list[Door]:
        """Where each can be asked."""
        return [worker.door for worker in self.workers]

    def figures(self) -> str:
        """The supervisor's own metrics (OpenMetrics)."""
        return (
            "# HELP bff_workers_alive Worker processes that said that they are ready\n"
            "# TYPE bff_workers_alive gauge\n"
            f"bff_workers_alive {sum(bool(worker.alive and worker.door.url) for worker in self.workers)}\n"
            "# HELP bff_workers_replaced Worker processes that took the place of one that ended\n"
            "# TYPE bff_workers_replaced counter\n"
            f"bff_workers_replaced_total {self._replaced}\n"
        )

    async def begin(self) -> None:
        """All at once; returns when every one serves. Raises `BadSetting`, `Ended`: of the first that cannot."""
        await trio.lowlevel.checkpoint()  # told to end already: nobody is begun
        for worker in self.workers:
            worker.begin()
        async with trio.open_nursery() as nursery:
            for worker in self.workers:
                nursery.start_soon(worker.ready)

    def terminate(self) -> None:
        """The end begins; told again, it does not wait for what is under way."""
        for worker in self.workers:
            worker.terminate()
        self.ending.cancel(reason="told to end")

    async def gone(self) -> None:
        """Wait till all have ended; who needs more than `ENDS_WITHIN` seconds is killed."""
        with within(ENDS_WITHIN):
            for worker in self.workers:
                await worker.gone()
        self.kill()

    def kill(self) -> None:
        """Nobody is left."""
        for worker in self.workers:
            worker.kill()

    def _told(self) -> None:
        self._replaced += 1
        self._changed(self.pids)


async def supervise_until_told(
    count: int,
    told: Settings,
    env: Mapping[str, str],
    outside: Outside,
    *,
    log: Any,
    announce: Callable[[Addresses], None],
    changed: Callable[[tuple[int, ...]], None],
) -> None:
    """Keep `count` workers serving until SIGTERM or SIGINT, then let them drain. `env` is theirs, `told` its reading.

    `announce` is called once all of them serve, `changed` with their process ids when one was replaced. Raises
    `BadSetting` for what cannot be used, `Ended` for a worker that could not be started for another reason.
    """
    allow_many_files()
    edge = await bound(told.edge, "BFF_EDGE_BIND")
    ops = await bound(told.ops, "BFF_OPS_BIND")
    urls = url_of(edge, told.tls is not None), url_of(ops, False)
    crew = Crew([Worker(number, env, edge, outside) for number in range(1, count + 1)], changed)
    pool = Pool(outside.connect, limits=ASKING)
    client = httpx.AsyncClient(transport=TrioTransport(pool), trust_env=False)
    several = Several(outside, client, crew.doors, crew.figures, told.ops_token)
    over, hearing = trio.Event(), trio.CancelScope()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals, listening(lines(log)):
        try:
            async with client, trio.open_nursery() as nursery:
                config = EdgeConfig(outside, limits=OPS_LIMITS, grace=OPS_GRACE_SECONDS)
                await nursery.start(partial(serve_edge, several.serve, config, listeners=ops, shutdown=over))
                nursery.start_soon(_hear, signals, hearing, several, crew)
                with crew.ending:
                    await _keep(crew, pool, outside, lambda: announce(Addresses(*urls, crew.pids)))
                for listener in edge:
                    await listener.aclose()
                await crew.gone()
                hearing.cancel(reason="the workers have ended")
                ignore_signals()
                over.set()
        finally:
            crew.kill()


async def _keep(crew: Crew, pool: Pool, outside: Outside, announce: Callable[[], None]) -> None:
    """Begin the crew, say so, and replace whoever ends, until cancelled."""
    jitter = partial(fraction, outside.entropy)
    async with open_owner("supervisor", bound=len(crew.workers) + 1) as owner:
        owner.supervise("pool", pool.serve, jitter=jitter)
        await crew.begin()
        announce()
        for worker in crew.workers:
            owner.supervise(f"worker {worker.number}", worker.stay, jitter=jitter, backoff=DIES_YOUNG)
        await trio.sleep_forever()


async def _hear(signals: AsyncIterator[int], hearing: trio.CancelScope, several: Several, crew: Crew) -> None:
    """The first signal begins the end, further ones hurry it."""
    with hearing:
        async for _ in signals:
            several.draining = True
            crew.terminate()


async def _first_line(process: subprocess.Popen[bytes]) -> bytes:
    """What it says first; b'' where it ended without a word. Afterwards nobody listens any more."""
    assert process.stdout is not None, "spawned with a pipe"
    stream = trio.lowlevel.FdStream(os.dup(process.stdout.fileno()))
    process.stdout.close()
    line = bytearray()
    async with stream:
        while not line.endswith(b"\n") and len(line) < LONGEST_LINE:
            piece = await stream.receive_some(4096)
            if not piece:
                return b""
            line += piece
    return bytes(line)


def _told(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"return code {code}"
