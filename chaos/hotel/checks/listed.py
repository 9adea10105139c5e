"""Every answer is one that the contract's document lists for its route: judged by what servers told of their answers.

What `/openapi.json` promises is made from the routes' table. Whether it is kept is seen wherever a server runs.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from bff.events.intake import PATH as EVENTS_PATH
from bff.events.push import SAYS
from bff.facts import RequestServed
from bff.problem import Code
from bff.refusals import REFUSED, by_status
from bff.routes import ROUTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bff.routes import Route

NOWHERE: Final = frozenset(  # what is said of a path, or a method, that there is not
    (code.status, code.word) for code in (Code.NOT_FOUND, Code.METHOD_NOT_ALLOWED, Code.HALTED)
)


def all_listed(facts: Iterable[object]) -> None:
    """Raises `AssertionError` for answers that nobody was promised."""
    served = [fact for fact in facts if isinstance(fact, RequestServed)]
    wrong = {fact for fact in served if (fact.status, fact.code) not in _listed(fact.route, fact.method)}
    assert not wrong, f"the contract does not list: {wrong}"


@cache
def _listed(path: str, method: str) -> frozenset[tuple[int, str]]:
    """Each status and code that a route may answer with; no code is a success, or a refusal that is replayed."""
    if path == EVENTS_PATH:  # which is none of a desk's
        return frozenset({(204, ""), *((code.status, code.word) for code in SAYS)})
    row = next((row for row in ROUTES if row.path == path and method in {row.method, "HEAD"}), None)
    if row is None:
        return NOWHERE
    return frozenset({(row.status, ""), *_refusals(row), *(_replayed() if row.action is not None else ())})


def _refusals(row: Route) -> set[tuple[int, str]]:
    found = {(int(status), code.word) for status, codes in by_status(row).items() if status != "4XX" for code in codes}
    if row.action is not None:
        found |= {(status, Code.UPSTREAM_REFUSED.word) for status in REFUSED}
    return found


def _replayed() -> set[tuple[int, str]]:
    return {(status, "") for status in (*REFUSED, Code.NOT_FOUND.status)}
