"""What `bff serve` is told, out of `BFF_…` variables: one frozen value, and one line per mistake that says what to do.

Nothing else in the server reads the environment. A secret is a `Secret`: it is equal to itself and prints as stars, so
that no log and no traceback can show it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from bff import tracing
from bff.budgets import NONE, Budgets, amount

T = TypeVar("T")
LONGEST_URL = 2048
PUBSUB = "https://pubsub.googleapis.com"
AUDIT_KEY = "BFF_AUDIT_KEY"
SEED = re.compile(r"([A-Za-z0-9_-]{42}[AEIMQUYcgkosw048])=?")  # 32 bytes in base64url, in their one spelling
STREAMS = 12_288  # open at once in one process
LONGEST_SEED = 64  # bytes of a file that holds one


class BadSetting(ValueError):
    """A variable that cannot be used; the message is one line: which one, and what it should be."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that is compared and passed on, and never shown."""

    value: str = field(repr=False)

    def __str__(self) -> str:
        return "*****"


@dataclass(frozen=True, slots=True)
class Bind:
    """Where to listen: `host` a name or address, `port` 0 for any free one."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Rates:
    """Rung 0's limits; 0 is off. Requests a second per (address, device) and per address, new streams per device.

    Of one operator's, wrong `passwords` a minute and wrong `codes` of a second factor in a quarter of an hour.
    """

    requests: float = 50.0
    address: float = 0.0
    streams: float = 1.0
    passwords: float = 5.0
    codes: float = 5.0


@dataclass(frozen=True, slots=True)
class Pushed:
    """Whom Pub/Sub's push is believed at the edge: tokens for `audience`, of `account`, by the keys at `keys_url`."""

    audience: str
    keys_url: str
    account: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that `bff serve` can be told. `upstreams` maps a service's name to its base URL.

    `pubsub` is the base URL of Pub/Sub, `pubsub_token` the URL of who gives tokens for it, '' where it takes none.
    `audit_key` is the seed, 43 characters of base64url, of the key that checkpoints are signed with; without one
    nothing is. `streams` is how many may be open at once in one process, `internal_token` what the platform shows that
    has something to say to desks, `push` how Pub/Sub shows at the edge who it is, `public_fallback` the origin that
    desks try where `public_origin` is not to be had; `probe_halts`: what one tenant sees of another halts traffic.
    """

    edge: Bind
    ops: Bind
    ops_token: Secret | None
    postgres: Secret
    redis_session: Secret
    redis_cache: Secret
    upstreams: Mapping[str, str]
    tls: tuple[Path, Path] | None
    public_origin: str | None
    trusted_proxies: tuple[str, ...]
    token_issuer: str
    rates: Rates
    pubsub: str = PUBSUB
    pubsub_project: str = "melmastoon"
    pubsub_token: str = ""
    audit_key: Secret | None = None
    streams: int = STREAMS
    internal_token: Secret | None = None
    public_fallback: str | None = None
    probe_halts: bool = False
    counters: str = ""  # where services' own counts of changes are, '' where nobody gives them
    budgets: Budgets = NONE
    push: Pushed | None = None
    traces: tracing.Tracing | None = None


def settings(env: Mapping[str, str], services: tuple[str, ...]) -> Settings:
    """The settings in `env`, for the services asked. Raises `BadSetting` for the first variable that cannot be used."""
    ops = _read(env, "BFF_OPS_BIND", "127.0.0.1:9090", bind)
    if not ops.loopback and not env.get("BFF_OPS_TOKEN"):
        raise BadSetting(f"BFF_OPS_BIND is {ops}, beyond loopback: set BFF_OPS_TOKEN too")
    return Settings(
        edge=_edge(env),
        ops=ops,
        ops_token=_secret(env, "BFF_OPS_TOKEN"),
        postgres=_url(env, "BFF_POSTGRES_URL", ("postgresql", "postgres")),
        redis_session=_url(env, "BFF_REDIS_SESSION_URL", ("redis", "rediss", "unix")),
        redis_cache=_url(env, "BFF_REDIS_CACHE_URL", ("redis", "rediss", "unix")),
        upstreams={service: _upstream(env, service) for service in services},
        tls=_tls(env),
        public_origin=_read(env, "BFF_PUBLIC_ORIGIN", "", _origin) or None,
        public_fallback=_read(env, "BFF_PUBLIC_FALLBACK", "", _origin) or None,
        probe_halts=_read(env, "BFF_PROBE_HALTS", "no", _yes),
        trusted_proxies=_read(env, "BFF_TRUSTED_PROXIES", "", _networks),
        token_issuer=env.get("BFF_TOKEN_ISSUER") or "https://iam.melmastoon.example",
        rates=Rates(
            requests=_read(env, "BFF_RATE_REQUESTS", "50", _rate),
            address=_read(env, "BFF_RATE_ADDRESS", "0", _rate),
            streams=_read(env, "BFF_RATE_STREAMS", "1", _rate),
            passwords=_read(env, "BFF_RATE_PASSWORDS", "5", _rate),
            codes=_read(env, "BFF_RATE_CODES", "5", _rate),
        ),
        internal_token=_secret(env, "BFF_INTERNAL_TOKEN"),
        push=_pushed(env),
        traces=_traces(env),
        streams=_read(env, "BFF_STREAMS", str(STREAMS), _count),
        budgets=Budgets(
            instances=_read(env, "BFF_BUDGET_INSTANCES", "0", amount),
            egress=_read(env, "BFF_BUDGET_EGRESS", "0", amount),
        ),
        pubsub=_read(env, variable("pubsub"), PUBSUB, _origin),
        pubsub_project=_read(env, "BFF_PUBSUB_PROJECT", "melmastoon", _project),
        pubsub_token=_read(env, "BFF_PUBSUB_TOKEN_URL", "", _address),
        counters=_read(env, "BFF_COUNTERS_URL", "", _address),
        audit_key=audit_key(env),
    )


def _read(env: Mapping[str, str], name: str, default: str, parse: Callable[[str], T]) -> T:
    text = env.get(name) or default
    try:
        return parse(text)
    except ValueError as error:
        raise BadSetting(f"{name} is {text!r}: {error}") from None


def bind(text: str) -> Bind:
    """`host:port` or `[v6]:port`. Raises `ValueError` with what it should be."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError("it should be HOST:PORT, such as 127.0.0.1:8080")
    return Bind(host, int(port))


def _edge(env: Mapping[str, str]) -> Bind:
    # A platform that gives PORT (Cloud Run) routes to every address of the container.
    default = f"0.0.0.0:{env['PORT']}" if env.get("PORT") else "127.0.0.1:8080"
    name = "BFF_EDGE_BIND" if env.get("BFF_EDGE_BIND") else "PORT"
    return _read(env if name == "BFF_EDGE_BIND" else {}, name, default, bind)


def _url(env: Mapping[str, str], name: str, schemes: tuple[str, ...]) -> Secret:
    text = env.get(name, "")
    if not text:
        raise BadSetting(f"{name} is not set: it should be {schemes[0]}://… (`bff up` starts one by itself)")
    if not text.startswith(tuple(f"{scheme}://" for scheme in schemes)) or len(text) > LONGEST_URL:
        raise BadSetting(f"{name} should begin with {schemes[0]}://")  # without its value: it may hold a password
    return Secret(text)


def variable(service: str) -> str:
    """The variable that says where a service is: `lock-integration` has `BFF_UPSTREAM_LOCK_INTEGRATION_URL`."""
    return f"BFF_UPSTREAM_{service.upper().replace('-', '_')}_URL"


def _upstream(env: Mapping[str, str], service: str) -> str:
    name = variable(service)
    if not env.get(name):
        raise BadSetting(f"{name} is not set: it should be the base URL of {service}")
    return _read(env, name, "", _origin)


def _origin(text: str) -> str:
    if not text:
        return ""
    parts = urlsplit(text)
    port = parts.port  # raises ValueError for a port that is none
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path not in {"", "/"} or port == 0:
        raise ValueError("it should be http(s)://HOST[:PORT], without a path")
    return f"{parts.scheme}://{parts.netloc}"


def _address(text: str) -> str:
    parts = urlsplit(text)
    if text and (parts.scheme not in {"http", "https"} or not parts.hostname or not text.isascii()):
        raise ValueError("it should be http(s)://HOST[:PORT]/PATH")
    return text


def _pushed(env: Mapping[str, str]) -> Pushed | None:
    names = ("BFF_PUSH_AUDIENCE", "BFF_PUSH_KEYS_URL", "BFF_PUSH_ACCOUNT")
    there = [name for name in names if env.get(name)]
    if not there:
        return None
    if len(there) < len(names):
        raise BadSetting(f"{', '.join(names[:2])} and {names[2]} go together: set all three, or none")
    audience, keys_url, account = names
    return Pushed(_read(env, audience, "", _name), _read(env, keys_url, "", _keys), _read(env, account, "", _account))


def _keys(text: str) -> str:
    """Whoever can change what comes from there can sign for anybody: in clear from this machine alone."""
    parts = urlsplit(_address(text))
    where = Bind(parts.hostname or "", parts.port or 0)  # a port that is none raises ValueError
    if parts.scheme != "https" and not where.loopback:
        raise ValueError("it should be https://HOST[:PORT]/PATH")
    return text


def _name(text: str) -> str:
    if not re.fullmatch(r"[!-~]{1,256}", text):
        raise ValueError("it should be the audience of the subscription's tokens, as it is there")
    return text


def _account(text: str) -> str:
    if not re.fullmatch(r"[!-?A-~]+@[!-?A-~]+", text):
        raise ValueError("it should be the address of the service account that pushes")
    return text


def audit_key(env: Mapping[str, str]) -> Secret | None:
    """The seed of the Ed25519 key in BFF_AUDIT_KEY, or in the file there; None where it is not set.

    Raises `BadSetting`, without a word of what is there: it may be the key, mistyped.
    """
    text = env.get(AUDIT_KEY)
    if not text:
        return None
    seed = SEED.fullmatch(text) or SEED.fullmatch(kept_in(Path(text), LONGEST_SEED))
    if seed is None:
        raise BadSetting(f"{AUDIT_KEY} should be 32 bytes in base64url, or the path of a file that holds them")
    return Secret(seed[1])


def kept_in(path: Path, longest: int) -> str:
    """All there is in a short file, but for the end of its line; '' where there is none."""
    try:
        with path.open("rb") as file:
            return file.read(longest).decode("ascii").removesuffix("\n")
    except (OSError, ValueError):
        return ""


def _project(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9.:-]{1,62}", text):
        raise ValueError("it should be the id of a project, such as melmastoon")
    return text


def _networks(text: str) -> tuple[str, ...]:
    return tuple(str(ipaddress.ip_network(part.strip(), strict=False)) for part in text.split(",") if part.strip())


def _rate(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1_000_000:
        raise ValueError("it should be a number from 0 (off) to 1000000")
    return value


def _secret(env: Mapping[str, str], name: str) -> Secret | None:
    return Secret(env[name]) if env.get(name) else None


def _traces(env: Mapping[str, str]) -> tracing.Tracing | None:
    try:
        return tracing.tracing(env)
    except ValueError as error:
        raise BadSetting(str(error)) from None


def _yes(text: str) -> bool:
    if text not in {"yes", "no"}:
        raise ValueError("it should be yes or no")
    return text == "yes"


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise ValueError("it should be a whole number from 1 to 1000000")
    return int(text)


def _tls(env: Mapping[str, str]) -> tuple[Path, Path] | None:
    cert, key = env.get("BFF_TLS_CERT"), env.get("BFF_TLS_KEY")
    if bool(cert) != bool(key):
        raise BadSetting("BFF_TLS_CERT and BFF_TLS_KEY go together: set both, or neither")
    if not cert or not key:
        return None
    for name, path in (("BFF_TLS_CERT", cert), ("BFF_TLS_KEY", key)):
        if not Path(path).is_file():
            raise BadSetting(f"{name} is {path!r}: there is no such file")
    return Path(cert), Path(key)
