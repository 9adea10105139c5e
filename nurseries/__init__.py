"""A kit for Trio programs that must answer in time, whatever breaks behind them. It imports trio alone.

Start here, in reading order:

    deadline   a deadline is state of a scope: within, until, reserve, remaining; required raises without one
    outcome    what became of a child, as a value
    owners     who holds background work, how much of it, and how it is doing
    fanout     many children under one deadline; the answer never waits for a child that does not obey
    facts      the one hook through which everything that happened is told
    breaker    stop asking what fails, then ask once
    retry      ask again, inside the deadline and out of a budget
    bulkhead   so many at once, the last places for what is urgent
    flight     many wait, one works
    scopes     many come, the newest stays
    tree       all of it as it is now, as text
    testing    for tests: leave at every checkpoint, and see that nothing is left
"""

from nurseries.breaker import (
    Breaker,
    BreakerClosed,
    BreakerHalfOpened,
    BreakerOpened,
    BreakerRule,
    Permit,
    State,
)
from nurseries.bulkhead import Bulkhead, BulkheadPermit, BulkheadShed
from nurseries.deadline import DetachedCutOff, Unbounded, detached, remaining, required, reserve, until, within
from nurseries.facts import listening, tell
from nurseries.fanout import fan_out
from nurseries.flight import Flight
from nurseries.outcome import ErrorsBecome, Failed, Ok, Outcome, Shed, TimedOut, described
from nurseries.owners import (
    Backoff,
    Doing,
    Full,
    Health,
    OwnedTaskFailed,
    Owner,
    ServiceRestarting,
    StragglerLetGo,
    open_owner,
    owners,
)
from nurseries.retry import RetryBudget, RetryDenied, retry
from nurseries.scopes import KeyedScopes, Place
from nurseries.testing import Counted, at_checkpoint, cancel_at, count_checkpoints, no_task_left
from nurseries.tree import task_tree

__all__ = [
    "Backoff",
    "Breaker",
    "BreakerClosed",
    "BreakerHalfOpened",
    "BreakerOpened",
    "BreakerRule",
    "Bulkhead",
    "BulkheadPermit",
    "BulkheadShed",
    "Counted",
    "DetachedCutOff",
    "Doing",
    "ErrorsBecome",
    "Failed",
    "Flight",
    "Full",
    "Health",
    "KeyedScopes",
    "Ok",
    "Outcome",
    "OwnedTaskFailed",
    "Owner",
    "Permit",
    "Place",
    "RetryBudget",
    "RetryDenied",
    "ServiceRestarting",
    "Shed",
    "State",
    "StragglerLetGo",
    "TimedOut",
    "Unbounded",
    "at_checkpoint",
    "cancel_at",
    "count_checkpoints",
    "described",
    "detached",
    "fan_out",
    "listening",
    "no_task_left",
    "open_owner",
    "owners",
    "remaining",
    "required",
    "reserve",
    "retry",
    "task_tree",
    "tell",
    "until",
    "within",
]
