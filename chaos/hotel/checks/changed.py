"""What plans may promise of changes, judged from what desks were answered and from what the auditor read.

always       prompt       a try is answered by its deadline
             one-answer   a key that is asked again gives the same answer, to the byte
             complete     no lock action without its rows, as the ledger itself counts it (F-27)
             chained      no row of a trail was changed, or is missing
eventually   answered-all every key has its answer, or was given up by its desk
             settled      of no key is it unknown what came of it
             once         as many effects as keys that were answered with success (F-32)
             audited      each answer about a lock has its row in the trail, and each intent its outcome
             told         nothing waits in the outbox, and nothing is dead
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from bff.writes.actions import ACTIONS
from chaos.history import CHECKS
from chaos.hotel.fleet.changes import ANSWERS, is_try
from chaos.hotel.fleet.inspecting import LANE

if TYPE_CHECKING:
    from chaos.history import History, Moment
    from chaos.play import Judge, Settled

SHOWN: Final = 3  # keys that a line names


def tries(moments: Iterable[Moment]) -> list[Moment]:
    """Every try of every key, in the order in which they ended."""
    return [moment for moment in moments if is_try(moment)]


def succeeded(moments: Iterable[Moment]) -> dict[str, set[str]]:
    """The keys of each action that were answered with success, by a server or, where a desk gave up, by the trail."""
    found: dict[str, set[str]] = {}
    for moment in moments:
        done = moment.word in {"done", "replayed"} or (moment.word == "wrote" and moment.data["outcome"] == "success")
        if done:
            found.setdefault(str(moment.data["action"]), set()).add(str(moment.data["key"]))
    return found


def last_count(history: History) -> Mapping[str, Any] | None:
    """What the auditor counted last, in the calm; None where he has not looked yet since it began."""
    last = next((one for one in reversed(history.moments) if one.lane == LANE and one.word == "counted"), None)
    calm = history.calm_at
    return last.data if last is not None and calm is not None and last.at >= calm else None


def seconds_to_settle(moments: Iterable[Moment]) -> float:
    """How long after the calm began the last promise came true; 0 where none did."""
    after = (moment.data["after"] for moment in moments if moment.lane == CHECKS and "after" in moment.data)
    return round(max(after, default=0.0), 3)


def prompt() -> Judge:
    """By its deadline, as the desk measures it; who finds nobody there has nobody to blame."""

    def judge(moment: Moment) -> str | None:
        late = moment.data["late"] if is_try(moment) and moment.word != "unreachable" else 0.0
        return f"{moment.lane}: {moment.text} came {late * 1000:.0f} ms after its deadline" if late > 0 else None

    return judge


def one_answer() -> Judge:
    """Byte for byte, but for the id of the request."""
    given: dict[tuple[str, str], str] = {}

    def judge(moment: Moment) -> str | None:
        if not is_try(moment) or moment.word not in ANSWERS:
            return None
        answer = str(moment.data["answer"])
        first = given.setdefault((moment.lane, str(moment.data["key"])), answer)
        return None if answer == first else f"{moment.lane}: {moment.text} was answered twice, and not the same"

    return judge


def complete() -> Judge:
    """All along, whatever is broken."""

    def judge(moment: Moment) -> str | None:
        if moment.lane != LANE or moment.word != "counted" or moment.data["complete"] == 1.0:
            return None
        return f"{moment.data['complete']:.4%}: {'; '.join(moment.data['gaps'][:SHOWN])}"

    return judge


def chained() -> Judge:
    """As they were written, none missing."""

    def judge(moment: Moment) -> str | None:
        return moment.text if moment.lane == LANE and moment.word == "broke" else None

    return judge


def answered_all(history: History) -> str:
    """Each key was answered, or its desk has said that it gave up."""
    open_: dict[tuple[str, str], None] = {}
    for moment in history.moments:
        key = (moment.lane, str(moment.data.get("key")))
        if moment.word == "asks":
            open_[key] = None
        elif moment.word in ANSWERS | {"gave-up"}:
            open_.pop(key, None)
    shown = ", ".join(key for _, key in list(open_)[:SHOWN])
    return f"{len(open_)} keys without an answer: {shown}" if open_ else ""


def settled(history: History) -> str:
    """As the ledger says."""
    count = last_count(history)
    if count is None:
        return "nobody has looked yet"
    return f"{count['unsettled']} keys are unsettled" if count["unsettled"] else ""


def once(history: History) -> str:
    """Not more, which is a charge posted twice, and not fewer, which is one that was promised and is not there.

    Only once every key has its answer: one that was carried out and not answered yet would hide one that is missing.
    """
    count = last_count(history)
    if count is None:
        return "nobody has looked yet"
    if open_ := answered_all(history):
        return open_
    effects, keys = count["effects"], {name: len(found) for name, found in succeeded(history.moments).items()}
    wrong = [
        f"{name}: {effects.get(name, 0)} effects of {keys.get(name, 0)} keys"
        for name in ACTIONS
        if effects.get(name, 0) != keys.get(name, 0)
    ]
    return "; ".join(wrong)


def audited(history: History) -> str:
    """A row for each answer: `failure` for 502, `uncertain` for 504, `success` for a key that was carried out.

    A 504 that names no service was given to one who still waited in line: nothing was claimed, and nothing sent.
    """
    said, outcomes, pending = Counter[tuple[str, str]](), Counter[tuple[str, str]](), set[str]()
    wrong = []
    for moment in history.moments:
        if moment.word == "wrote" and moment.lane == LANE:
            key = str(moment.data["key"])
            if moment.data["kind"] == "intent":
                wrong += [f"{key}: two intents without an outcome between them"] if key in pending else []
                pending.add(key)
            else:
                pending.discard(key)
                outcomes[key, str(moment.data["outcome"])] += 1
        elif (outcome := _outcome_of(moment)) is not None:
            said[str(moment.data["key"]), outcome] += 1
    wrong += [f"{key}: no outcome" for key in sorted(pending)]
    wrong += [f"{key}: no row for {outcome}" for (key, outcome), n in said.items() if outcomes[key, outcome] < n]
    return f"{len(wrong)} wrong: {', '.join(wrong[:SHOWN])}" if wrong else ""


def _outcome_of(moment: Moment) -> str | None:
    """What the trail should say of a try of a lock action, where it should say something for it alone."""
    if not is_try(moment) or not ACTIONS[str(moment.data["action"])].audited:
        return None
    if moment.word == "unknown" and not moment.data["upstream"]:
        return None
    return {"done": "success", "failed": "failure", "unknown": "uncertain"}.get(moment.word)


def told(history: History) -> str:
    """What others must hear has been said, all of it."""
    count = last_count(history)
    if count is None:
        return "nobody has looked yet"
    left = [f"{count[name]} letters are {name}" for name in ("waiting", "dead") if count[name]]
    return ", ".join(left)


ALWAYS: Final[Mapping[str, Callable[[], Judge]]] = {
    "prompt": prompt,
    "one-answer": one_answer,
    "complete": complete,
    "chained": chained,
}
EVENTUALLY: Final[Mapping[str, Settled]] = {
    "answered-all": answered_all,
    "settled": settled,
    "once": once,
    "audited": audited,
    "told": told,
}
