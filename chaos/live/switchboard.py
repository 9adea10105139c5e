"""The proxy's process: `python -m chaos.live.switchboard DESCRIPTOR FRONTS`, begun by `chaos.live.proxy`.

`FRONTS` is JSON: `{"postgres": [[host, port that clients dial], [host, port of the store]], …}`. `DESCRIPTOR` is a
connected socket to whoever began it, who tells it what to do, in lines of JSON, one answer each, in order, with the
number of the question. A fault is in force when it is answered:

    {"number": 1, "do": "inject", "target": "postgres", "toxic": "hang"}  ->  {"number": 1, "ok": {"postgres": [...]}}
    {"number": 2, "do": "clear", "target": null, "toxic": null}           ->  {"number": 2, "ok": {}}
    {"number": 3, "do": "list"}                                           ->  {"number": 3, "ok": {}}
    what cannot be                                                        ->  {"number": 4, "error": "one line"}

It ends when that socket does.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any

from chaos.live.front import Front
from chaos.live.rounds import READABLE, Rounds
from chaos.toxics import BadToxic, split


class Control:
    """Whoever began it, at the other end of `told`."""

    def __init__(self, told: socket.socket, fronts: Mapping[str, Front], rounds: Rounds) -> None:
        self._told = told
        self._fronts = fronts
        self._rounds = rounds
        self._rest = b""
        rounds.watch(told.fileno(), READABLE, self._asked)

    def _asked(self, events: int) -> None:
        del events
        try:
            data = self._told.recv(65_536)
        except OSError:
            data = b""
        if not data:
            self._rounds.over = True
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            asked = json.loads(line)
            self._told.sendall(json.dumps({"number": asked["number"], **self._answer(asked)}).encode() + b"\n")

    def _answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        try:
            self._do(asked)
        except (BadToxic, OSError) as error:
            return {"error": str(error)}
        return {
            "ok": {name: [str(one) for one in front.toxics] for name, front in self._fronts.items() if front.toxics}
        }

    def _do(self, asked: Mapping[str, Any]) -> None:
        toxic = split(asked["toxic"]) if asked.get("toxic") else None
        if asked["do"] == "inject" and toxic is not None:
            self._fronts[asked["target"]].inject(toxic)
        elif asked["do"] == "clear":
            for front in self._fronts.values() if asked["target"] is None else [self._fronts[asked["target"]]]:
                front.clear(toxic)


def main(descriptor: str, fronts: str) -> None:
    """Until whoever began it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for whoever began it, and who decides in which order all ends
    rounds = Rounds()
    made = {
        name: Front(_place(dialled), _place(store), rounds) for name, (dialled, store) in json.loads(fronts).items()
    }
    Control(socket.socket(fileno=int(descriptor)), made, rounds)
    rounds.go()


def _place(said: list[Any]) -> tuple[str, int]:
    host, port = said
    return str(host), int(port)


if __name__ == "__main__":
    main(*sys.argv[1:])
