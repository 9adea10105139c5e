"""Where spans go, and how many: OpenTelemetry's own variables, since whoever runs a collector knows them.

OTEL_EXPORTER_OTLP_ENDPOINT   the collector's base URL; without one nothing is traced, and nothing it costs is paid
OTEL_EXPORTER_OTLP_HEADERS    what it wants to be shown: `name=value,name=value`, percent-encoded; a secret
OTEL_TRACES_SAMPLER_ARG       the share of traces to keep, of those that begin here; a caller's own word counts
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
HEADERS: Final = "OTEL_EXPORTER_OTLP_HEADERS"
SHARE: Final = "OTEL_TRACES_SAMPLER_ARG"
_FIELD: Final = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+)=([\x20-\x7e]*)")
_URL: Final = re.compile(r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[!-\"$->@-~]*)?")
_OURS: Final = frozenset({"host", "content-length", "content-type", "connection", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class Tracing:
    """Where to post spans (`url`, the whole of it), `share` of those traces that begin here, and what to show."""

    url: str
    share: float = 1.0
    headers: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)


def tracing(env: Mapping[str, str]) -> Tracing | None:
    """What `env` says, None without an endpoint. Raises `ValueError` in one line, never with a header's value in it."""
    base = env.get(ENDPOINT)
    if not base:
        return None
    if not _URL.fullmatch(base):  # said without it: it may hold a password, which belongs into the headers
        raise ValueError(f"{ENDPOINT} should be http(s)://HOST[:PORT][/PATH], such as http://127.0.0.1:4318")
    return Tracing(f"{base.rstrip('/')}/v1/traces", _share(env.get(SHARE) or "1"), _headers(env.get(HEADERS) or ""))


def _share(text: str) -> float:
    if re.fullmatch(r"[0-9]*\.?[0-9]+", text) and float(text) <= 1:
        return float(text)
    raise ValueError(f"{SHARE} is {text!r}: it should be a number from 0 to 1")


def _headers(text: str) -> tuple[tuple[bytes, bytes], ...]:
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _FIELD.fullmatch(part)
        name, value = (match[1].lower(), unquote(match[2]).strip()) if match is not None else ("", "")
        if not name or name in _OURS or not value.isascii() or not value.isprintable():
            raise ValueError(f"{HEADERS} should be name=value,name=value, percent-encoded")
        found.append((name.encode(), value.encode()))
    return tuple(found)
