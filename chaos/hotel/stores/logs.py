"""A tenant's log as a value that can be undone: what is kept of it, and what goes when something comes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from bff.stores.bus import KEPT_EVENTS, KEPT_SECONDS, PAGE, Entry, Gone, Page, Position

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Log:
    """Entries, the oldest first, without a gap. It begins with one that says nothing."""

    def __init__(self, beginning: Entry) -> None:
        self._entries: deque[Entry] = deque([beginning])

    @property
    def head(self) -> Position:
        """Of the last entry."""
        return self._entries[-1].position

    def append(self, entry: Entry) -> Callable[[], None]:
        """One more, and what is too old or too much by now goes. Gives the way back.

        One entry stays beyond those that are kept: it is the position after which they can be read on.
        """
        self._entries.append(entry)
        dropped: list[Entry] = []
        while len(self._entries) > KEPT_EVENTS + 1 or self._entries[1].at < entry.at - KEPT_SECONDS:
            dropped.append(self._entries.popleft())

        def undo() -> None:
            self._entries.pop()
            self._entries.extendleft(reversed(dropped))

        return undo

    def page(self, after: Position) -> Page | Gone:
        """What was said after it."""
        index = after.offset - self._entries[0].position.offset
        if not 0 <= index < len(self._entries) or self._entries[index].position != after:
            return Gone(self.head)
        rest = (self._entries[at] for at in range(index + 1, min(index + 1 + PAGE, len(self._entries))))
        return Page(tuple(rest), self.head)

    def lacks(self, entries: Sequence[Entry]) -> Sequence[Entry] | None:
        """Those of `entries` that come after its last one; None where that is none of them. A new log lacks all."""
        for index, entry in enumerate(entries):
            if entry.position == self.head:
                return entries[index + 1 :]
        fresh = len(self._entries) == 1 and not self._entries[0].payload
        return entries if fresh else None

    def has_only(self, entries: Sequence[Entry]) -> bool:
        """Whether its last entry is none of these: then it was begun anew, and they take its place."""
        return all(entry.position != self.head for entry in entries)
