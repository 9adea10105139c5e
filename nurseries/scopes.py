"""Cancel scopes by key, newest wins: who comes for a key ends whoever held it before.

    with streams.newest((tenant, device)) as place:
        await deliver()                     # cancelled at its next checkpoint when a newer one comes for this device
    if place.superseded:
        await say("superseded")             # the scope is left: a last word can be said

There is no moment with two holders: taking the place, ending the older and entering the scope are one step without a
checkpoint. But the older is only *told*: it runs until its next checkpoint, and what it cleans up under a shield takes
as long as that takes. Whoever must not overlap with its predecessor's clean-up needs a lock beside this table.

Only this cancellation is swallowed by the block. One from further out travels on as ever, also when both come at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Hashable, KeysView
    from types import TracebackType

K = TypeVar("K", bound="Hashable")


class KeyedScopes(Generic[K]):
    """At most one holder per key. `name` is what the reason of a cancellation says: it names a table, never a key."""

    __slots__ = ("_places", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._places: dict[K, Place[K]] = {}

    def newest(self, key: K) -> Place[K]:
        """A context manager; entering it cancels the older holder of `key` and takes its place until it is left."""
        return Place(self._places, self.name, key)

    def __len__(self) -> int:
        """How many keys are held."""
        return len(self._places)

    def keys(self) -> KeysView[K]:
        """The keys held, those that are held longest first."""
        return self._places.keys()


class Place(Generic[K]):
    """The place of one key, for one block; `superseded` says whether a newer one has come while the block lasted.

    It does not say that work was lost: the block may have ended without another checkpoint. Entering raises
    `RuntimeError` where the task would end itself, and for a place that has been used.
    """

    __slots__ = ("_key", "_name", "_places", "_scope", "_task", "superseded")

    def __init__(self, places: dict[K, Place[K]], name: str, key: K) -> None:
        self._places = places
        self._name = name
        self._key = key
        self._scope = trio.CancelScope()
        self._task: trio.lowlevel.Task | None = None
        self.superseded = False

    def __enter__(self) -> Place[K]:
        task = trio.lowlevel.current_task()
        older = self._places.get(self._key)
        if older is not None and older._task is task:
            raise RuntimeError(f"{self._name}: this task is inside of the place that it would take")
        self._scope.__enter__()
        if older is not None:
            older.superseded = True
            older._scope.cancel(reason=f"{self._name}: a newer one has taken the place")
            del self._places[self._key]
        self._task = task
        self._places[self._key] = self
        return self

    # That it may swallow is in the type: a checker then knows that what the block would have set may be missing.
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._places.get(self._key) is self:
            del self._places[self._key]
        return self._scope.__exit__(kind, error, trace)
