"""What the house sees of HTTP: a frozen view of a request's head, and the only place that sends ASGI messages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request: `path` raw as sent, `query` raw without `?`, header names lower-case.

    `client` is the peer's address, '' when unknown. `scheme` is the listener's own.
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[bytes, bytes], ...]
    scheme: str
    client: str
    http_version: str = "1.1"

    def all(self, name: bytes) -> tuple[bytes, ...]:
        """Every value of a header, in order."""
        return tuple(value for key, value in self.headers if key == name)

    def first(self, name: bytes) -> bytes | None:
        """The first value of a header, or None."""
        return next((value for key, value in self.headers if key == name), None)
