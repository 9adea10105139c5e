"""Whether what desks asked for was done once: what services count, against what desks were answered.

A key that was answered with success has one effect at its service, and one event that the others hear, not none and not
two; whoever asks again is told the same, to the byte, and that it is an earlier answer. What went wrong meanwhile is
nothing that is known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING

from bff.writes.actions import ACTIONS

if TYPE_CHECKING:
    from chaos.hotel.estate.control import Estate
    from chaos.hotel.estate.pubsub import PubSub
    from chaos.hotel.fleet.changes import Tried


class Answers:
    """What was answered to each key, as it comes."""

    def __init__(self) -> None:
        self._first: dict[str, Tried] = {}
        self._succeeded: dict[str, set[str]] = {}

    def heard(self, action: str, key: str, tried: Tried) -> None:
        """One try has ended so. Raises `AssertionError` where it contradicts what was said before."""
        if tried.again is not None:
            return
        first = self._first.setdefault(key, tried)
        assert (tried.status, tried.body) == (first.status, first.body), f"{key}: {first}, and then {tried}"
        if tried.word in {"done", "replayed"}:
            assert tried.replayed or tried is first, f"{key} is answered again, and it does not say so"
            self._succeeded.setdefault(action, set()).add(key)

    @property
    def succeeded(self) -> Mapping[str, Set[str]]:
        """The keys of each action that were answered with success."""
        return self._succeeded


def effects(estate: Estate) -> Mapping[str, int]:
    """How many effects each action has had, as its service counts them."""
    asked = ((name, action.operation) for name, action in ACTIONS.items())
    return {name: estate.doors[to.service].service.counts[to.name].effects for name, to in asked}


def judge_effects(before: Mapping[str, int], now: Mapping[str, int], succeeded: Mapping[str, Set[str]]) -> None:
    """Raises `AssertionError` where an action has more effects since `before` than keys that succeeded, or fewer."""
    had = {name: now[name] - before[name] for name in now}
    wrong = [f"{name}: {had[name]} effects of {len(succeeded.get(name, ()))} keys" for name in had]
    wrong = [line for line, name in zip(wrong, had, strict=True) if had[name] != len(succeeded.get(name, ()))]
    assert not wrong, ", ".join(wrong)


def judge_events(pubsub: PubSub, topic: str, after: int, keys: int) -> None:
    """Raises `AssertionError` unless `topic` has had so many different messages since the one numbered `after`."""
    told = {one.message_id for one in pubsub.published(topic, after=after).messages}
    assert len(told) == keys, f"{len(told)} events of {keys} keys"
