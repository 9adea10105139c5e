"""Logs: for people on a terminal, JSON lines otherwise; facts become lines by one table.

Nobody logs by hand in the rooms: they tell facts, and the table below says which of them are worth a line and how loud.
A token, a password or a proof cannot be printed: facts hold none, a `Secret` prints as stars, and what looks like one
in a text is struck out all the same.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final, TextIO

import structlog

from bff import facts
from bff.outside import rfc3339

_TOKEN = re.compile(
    r"(?:eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?|(?i:(?:dpop|bearer)\s+)\S{8,}|://[^/\s@:]*:[^/\s@]+@)"
)
STRUCK: Final = "*****"

# What is worth a line: every other fact is for the metrics. Names of `nurseries`' facts are words, so that this floor
# need not know where each is told.
LOUD: Final[Mapping[str, str]] = {
    "Surprised": "error",
    "AppFailed": "error",
    "OwnedTaskFailed": "error",
    "ServiceRestarting": "warning",
    "BreakerOpened": "warning",
    "BreakerClosed": "info",
    "SchemaDrifted": "warning",
    "StoreChanged": "warning",
    "StoreTakenOver": "warning",
    "ReplayBlocked": "warning",
    "WindowFull": "error",
    "ReplayPassed": "error",
    "RecountSkipped": "warning",
    "SwitchTurned": "warning",
    "StreamsCapped": "warning",
    "MemoryGrows": "warning",
    "JtiModeTurned": "warning",
    "BudgetExceeded": "warning",
    "CertificateLooked": "warning",
    "Tripped": "error",
    "DuplicatesFound": "error",
    "WorkerEnded": "error",
    "WorkerReplaced": "warning",
}


def struck(text: str) -> str:
    """`text` without what looks like a token or a password in a URL."""
    return _TOKEN.sub(lambda found: f"://{STRUCK}@" if found[0].startswith("://") else STRUCK, text)


def _strike(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: struck(value) if isinstance(value, str) else value for key, value in event.items()}


def logger(stream: TextIO = sys.stderr, *, now: Callable[[], float], human: bool | None = None) -> Any:
    """A structlog logger on `stream`; `human` is whether it is a terminal where not said. `now` in POSIX seconds."""
    as_text = stream.isatty() if human is None else human

    def stamp(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        moment = rfc3339(now())
        event["at"] = moment[11:23] if as_text else moment
        return event

    render: Any = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty(), timestamp_key="at", pad_event_to=18)
        if as_text
        else structlog.processors.JSONRenderer(sort_keys=True)
    )
    return structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[structlog.processors.add_log_level, stamp, _strike, render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )


def lines(log: Any) -> Callable[[object], None]:
    """A listener for `nurseries.listening` that writes the facts worth a line."""

    def hear(fact: object) -> None:
        level = LOUD.get(type(fact).__name__)
        if level is not None and dataclasses.is_dataclass(fact) and not isinstance(fact, type):
            getattr(log, level)(_words(type(fact).__name__), **_fields(fact))
        elif isinstance(fact, facts.RequestServed) and fact.status >= 500:
            log.warning("request served", **_fields(fact))

    return hear


def _fields(fact: Any) -> dict[str, Any]:
    """What the fact says; of its span the trace, by which it is found elsewhere."""
    said = {field.name: getattr(fact, field.name) for field in dataclasses.fields(fact)}
    span = said.pop("span", None)
    return said if span is None else {**said, "trace": span.trace_id}


def _words(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).lower()
