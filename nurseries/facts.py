"""One hook through which everything that happened goes out, as frozen values.

Who tells does not know who listens: metrics, logs, traces and tests are listeners. A listener lives in one Trio run, so
that two servers in one process, or two virtual worlds one after the other, never hear each other. With nobody listening
a fact costs its own construction and one lookup.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from trio.lowlevel import RunVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Listener: TypeAlias = "Callable[[object], None]"
_listeners: RunVar[tuple[Listener, ...]] = RunVar("nurseries.facts", default=())


def tell(fact: object) -> None:
    """Give `fact` to every listener of this Trio run, in the order in which they came; a no-op outside of a run.

    A listener must not raise: what it raises reaches the teller.
    """
    try:
        listeners = _listeners.get()
    except RuntimeError:
        return
    for listener in listeners:
        listener(fact)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """`listener` hears every fact of this Trio run while the block lasts. Raises `RuntimeError` outside of a run."""
    _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        kept = list(_listeners.get())
        kept.remove(listener)
        _listeners.set(tuple(kept))
