"""A change as a desk makes it: one key, tried again until there is an answer, as an outbox does.

    answered      2xx, or a refusal that will not change: the end of it
    not yet       502, 503, 504, 409, 429, or nobody there: the same key again, after what `Retry-After` says

Each key begins in the history with `asks`, and each try ends in it with what came of it, for whoever judges: `done`,
`replayed` and `refused` are answers; `failed` (502), `unknown` (504), `waits` (409), `later` and `unreachable` are
none. A desk that leaves a key unanswered writes `gave-up`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from chaos.hotel.fleet.desk import PATIENCE, Refused
from nurseries import within

if TYPE_CHECKING:
    from random import Random

    from chaos.history import History, Moment
    from chaos.hotel.fleet.desk import Desk

MUTATION_SECONDS: Final = 5.0  # CONTRACT section 2: the deadline of a mutation
AGAIN: Final = 1.0  # seconds, where no answer says when
SOON: Final = 0.05
LEFT: Final = "LEFT"  # the code of a try that its own desk did not wait for
WORDS: Final = {0: "unreachable", 409: "waits", 502: "failed", 504: "unknown"}
ANSWERS: Final = frozenset({"done", "replayed", "refused"})
TRIES: Final = ANSWERS | {*WORDS.values(), "later"}


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of one try: `status` 0 where nobody answered, `again` seconds to wait where it is no answer yet.

    `told` says that the server itself has said when; `upstream` is the service that it names, '' where it asked none.
    """

    status: int
    code: str
    body: bytes
    took: float
    replayed: bool = False
    again: float | None = None
    told: bool = False
    upstream: str = ""

    @property
    def word(self) -> str:
        """As the history has it."""
        if 200 <= self.status < 300:
            return "replayed" if self.replayed else "done"
        return "refused" if self.again is None else WORDS.get(self.status, "later")


Ask = Callable[[], Awaitable[Tried]]


def is_try(moment: Moment) -> bool:
    """Whether a moment is the end of a try."""
    return moment.word in TRIES and "key" in moment.data


@dataclass(slots=True)
class Outbox:
    """One desk's changes in the history, on `lane`. `late` is the grace of the stage (seconds).

    `gives_up` is how probably a key is left alone after an answer that is none, `hurries` how probably the next try
    comes at once, `asks_again` how probably an answer is asked for once more.
    """

    history: History
    lane: str
    late: float
    chance: Random
    gives_up: float = 0.0
    hurries: float = 0.0
    asks_again: float = 0.0

    async def until_answered(self, action: str, key: str, ask: Ask) -> Tried | None:
        """Try until there is an answer; None where it was given up."""
        self.history.note(self.lane, "asks", good=True, action=action, key=key)
        while True:
            tried = await ask()
            self._note(action, key, tried)
            if tried.again is None:
                if self.chance.random() < self.asks_again:
                    self._note(action, key, await ask())
                return tried
            if self.chance.random() < self.gives_up:
                self.history.note(self.lane, "gave-up", f"{action} {key}", action=action, key=key)
                return None
            await trio.sleep(SOON if self.chance.random() < self.hurries else tried.again)

    def _note(self, action: str, key: str, tried: Tried) -> None:
        word = tried.word
        said: dict[str, Any] = {"action": action, "key": key, "status": tried.status, "code": tried.code}
        said["late"] = max(0.0, tried.took - MUTATION_SECONDS - self.late)
        if word in ANSWERS:
            said["answer"] = hashlib.sha256(tried.body).hexdigest()[:16]
        else:
            said |= {"told": tried.told, "upstream": tried.upstream}
        good = True if tried.status in range(200, 300) else None
        text = f"{action} {key} {tried.code}".rstrip()
        self.history.note(self.lane, word, text, good=good, took=tried.took, **said)


async def tried_by(
    desk: Desk,
    path: str,
    body: Any,
    key: str,
    *,
    attestation: str | None = None,
    method: str = "POST",
    patience: float = PATIENCE,
) -> Tried:
    """One try by a desk that waits for at most `patience` seconds. Raises nothing: what came is what came of it."""
    began = trio.current_time()
    with within(patience):
        try:
            changed = await desk.change(path, body, key, method=method, attestation=attestation)
        except Refused as refused:
            return missed(refused.status, refused.problem, trio.current_time() - began, refused.code)
        return Tried(changed.status, "", changed.body, changed.took, changed.replayed)
    return Tried(0, LEFT, b"", trio.current_time() - began, again=SOON)


def missed(status: int, problem: Any, took: float, code: str = "") -> Tried:
    """A try that no 2xx came of: `problem` is the document, {} where there is none."""
    again, told = None, "retryAfterMs" in problem
    if status == 0 or problem.get("retryable") or status >= 500:
        again = problem["retryAfterMs"] / 1000 if told else AGAIN
    same = {name: value for name, value in problem.items() if name != "requestId"}
    said, upstream = code or str(problem.get("code", status)), str(problem.get("upstream", ""))
    return Tried(status, said, msgspec.json.encode(same), took, again=again, told=told, upstream=upstream)
