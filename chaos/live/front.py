"""Where clients dial a store: a listener in its place, the lines of those who came, and the faults in force on them.

    down      nobody listens and who is connected is cut; with a rate, a part of both
    the rest  on the lines, as `line.py` says: those that are open, and those that come while it lasts

What a fault with a `rate` falls on is drawn once for each line. Of one kind the newer replaces the older.
"""

from __future__ import annotations

import socket
from functools import partial
from random import Random
from typing import Final

from chaos.live.line import Line, abort, quick
from chaos.live.rounds import READABLE, Rounds
from chaos.toxics import SOCKET, BadToxic, Down, Latency, Toxic

MOST_LINES: Final = 1024  # who comes beyond them is reset
BACKLOG: Final = 256
WORDS: Final = ", ".join(kind.word for kind in SOCKET)


class Front:
    """One store's. `bound` is the place that clients dial, not listening yet; `place` is where the store is."""

    def __init__(self, bound: tuple[str, int], place: tuple[str, int], rounds: Rounds) -> None:
        self._bound = bound
        self._place = place
        self._rounds = rounds
        self._random = Random()
        self._lines: dict[Line, None] = {}
        self._listening: socket.socket | None = None
        self.toxics: tuple[Toxic, ...] = ()
        self._listen()

    def inject(self, toxic: Toxic) -> None:
        """In force when this returns, for the lines that are open too. Raises `BadToxic` for what no line can have."""
        if not isinstance(toxic, SOCKET):
            raise BadToxic(f"{toxic.word}: a line can only do {WORDS}")
        self.toxics = (*_without(self.toxics, toxic), toxic)
        for line in tuple(self._lines):
            falls = self._falls(toxic)
            if falls and isinstance(toxic, Down):
                line.cut()
            else:
                kept = _without(line.struck, toxic)
                line.strike((*kept, toxic) if falls else kept, self._late)
        self._listen()

    def clear(self, toxic: Toxic | None = None) -> None:
        """End one fault, if an equal one is still in force, or all."""
        self.toxics = tuple(other for other in self.toxics if toxic is not None and other != toxic)
        for line in tuple(self._lines):
            line.strike((one for one in line.struck if one in self.toxics), self._late)
        self._listen()

    def close(self) -> None:
        """Nobody is let in, and nobody is left."""
        self._deaf()
        for line in tuple(self._lines):
            line.cut()

    def _falls(self, toxic: Toxic) -> bool:
        return toxic.rate >= 1 or self._random.random() < toxic.rate

    def _late(self) -> float:
        """Seconds, for the piece of an answer that has come now."""
        for toxic in self.toxics:
            if isinstance(toxic, Latency):
                return max(0.0, toxic.ms + toxic.jitter * self._random.uniform(-1, 1)) / 1000
        return 0.0

    def _listen(self) -> None:
        down = any(isinstance(toxic, Down) and toxic.rate >= 1 for toxic in self.toxics)
        if down:
            self._deaf()
        elif self._listening is None:
            host, _ = self._bound
            listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.setblocking(False)
            listening.bind(self._bound)
            listening.listen(BACKLOG)
            self._listening = listening
            self._rounds.watch(listening.fileno(), READABLE, partial(self._comes, listening))

    def _deaf(self) -> None:
        if self._listening is not None:
            self._rounds.forget(self._listening.fileno())
            self._listening.close()
            self._listening = None

    def _comes(self, listening: socket.socket, events: int) -> None:
        del events
        try:
            client, _ = listening.accept()
        except OSError:  # who came has left again
            return
        quick(client)
        struck = [toxic for toxic in self.toxics if self._falls(toxic)]
        if len(self._lines) >= MOST_LINES or any(isinstance(toxic, Down) for toxic in struck):
            abort(client)
            client.close()
            return
        line = Line(client, self._place, self._rounds, self._lines.pop)
        self._lines[line] = None
        line.strike(struck, self._late)


def _without(toxics: tuple[Toxic, ...], kind: Toxic) -> tuple[Toxic, ...]:
    return tuple(other for other in toxics if type(other) is not type(kind))
