"""One hook through which everything that happened goes out, as frozen values.

Who tells does not know who listens: metrics, logs, traces and tests are listeners. A listener lives in one Trio run, so
that two servers in one process, or two virtual worlds one after the other, never hear each other. While nobody listens
in the whole process, a fact costs its own construction and the look at an empty list.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from trio.lowlevel import RunVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Listener: TypeAlias = "Callable[[object], None]"
_listeners: RunVar[tuple[Listener, ...]] = RunVar("nurseries.facts", default=())
_anywhere: list[Listener] = []  # the listeners of all runs: only whether there are any is ever asked


def tell(fact: object) -> None:
    """Give `fact` to every listener of this Trio run, in the order in which they came; a no-op outside of a run.

    A listener must not raise: what it raises reaches the teller.
    """
    if not _anywhere:
        return
    try:
        listeners = _listeners.get()
    except RuntimeError:  # Trio's word for: not in a run
        return
    for listener in listeners:
        listener(fact)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """`listener` hears every fact of this Trio run while the block lasts. Raises `RuntimeError` outside of a run."""
    _listeners.set((*_listeners.get(), listener))
    _anywhere.append(listener)
    try:
        yield
    finally:
        _anywhere.remove(listener)
        kept = list(_listeners.get())
        kept.remove(listener)
        _listeners.set(tuple(kept))
