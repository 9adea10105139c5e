"""The URL of a store, and what it is when a proxy stands in front: the same user, password and database elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

from chaos.live.process import LiveError

PORTS: Final = {"postgresql": 5432, "postgres": 5432, "redis": 6379}
ELSEWHERE: Final = ("host", "hostaddr", "port", "service", "servicefile")  # of a query: they overrule what is before it
WITHOUT_TLS: Final = frozenset({"disable", "allow", "prefer"})


@dataclass(frozen=True, slots=True)
class Address:
    """One host and port that a proxy can stand in for. `url` has them, at the end of its authority."""

    url: str
    host: str
    port: int

    def at(self, host: str, port: int) -> str:
        """The same, elsewhere."""
        parts = urlsplit(self.url)
        who, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{who}{at}{host}:{port}").geturl()


def address(url: str) -> Address:
    """Where `url` leads. Raises `LiveError` with the reason, without a password in it, where no proxy can stand in."""
    try:
        parts = urlsplit(url)
        host, port, query = parts.hostname, parts.port, parse_qs(parts.query)
    except ValueError:
        raise LiveError("its URL is not of one host and port") from None
    if parts.scheme == "rediss" or not WITHOUT_TLS.issuperset(query.get("sslmode", ())):
        raise LiveError("its URL asks for TLS")
    if parts.scheme not in PORTS or not host or "," in parts.netloc or any(name in query for name in ELSEWHERE):
        raise LiveError("its URL is not of one host and port")
    return Address(url, host, port or PORTS[parts.scheme])
