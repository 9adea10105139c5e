"""pytest-trio walks over sets when it starts a test's fixtures and when it ends them: their order is that of addresses.

Inside of `fixtures_in_order` it walks in the order in which the test and its fixtures name each other. One method is
replaced for that while, the one by which a test collects what it needs; there is no public way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest_trio.plugin  # type: ignore[import-untyped]

_Fixture: Final[Any] = pytest_trio.plugin.TrioFixture


class _InOrder(dict[Any, None]):
    """As much of a set as pytest-trio asks of one, in the order of insertion."""

    def add(self, one: Any) -> None:
        self[one] = None


@contextmanager
def fixtures_in_order() -> Iterator[None]:
    """For the runs begun while inside."""
    before = _Fixture.register_and_collect_dependencies
    _Fixture.register_and_collect_dependencies = _collected
    try:
        yield
    finally:
        _Fixture.register_and_collect_dependencies = before


def _collected(needs: Any) -> _InOrder:
    """`needs`, and what it needs, and so on; each of those is told by what it is needed."""
    found = _InOrder({needs: None})
    for value in needs._pytest_kwargs.values():
        if isinstance(value, _Fixture):
            if not isinstance(value.user_done_events, _InOrder):
                value.user_done_events = _InOrder.fromkeys(value.user_done_events)
            value.user_done_events.add(needs._teardown_done)
            found.update(_collected(value))
    return found
