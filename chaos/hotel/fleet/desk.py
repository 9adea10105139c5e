"""One desk: its key, its device, its session, and what it asks the server. Used by a person, by tests and by load.

A desk trusts nothing but what the contract gives it: it makes a proof for every request, renews its tokens before they
end, and says in one line why it was refused. It runs wherever its transport does: on sockets, or in the virtual world.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx
import msgspec
import trio

from chaos.hotel.fleet.proof import make_key, make_proof
from nurseries import within

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bff.outside import Outside

PATIENCE: Final = 10.0  # seconds for a request whose answer has a deadline of its own on the other side
RENEW_BEFORE: Final = 60.0  # seconds before the access token ends


class Refused(Exception):
    """The server answered with a problem, or not at all (`status` 0); the text is one line for a person.

    `problem` is the whole document, where one came.
    """

    def __init__(self, status: int, code: str, detail: str, problem: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.problem: Mapping[str, Any] = problem or {}


@dataclass(frozen=True, slots=True)
class Operator:
    """Who signs in."""

    tenant: str
    operator: str
    password: str


class Session(msgspec.Struct, rename="camel"):
    """What signing in, and renewing, gives."""

    access_token: str
    refresh_token: str
    expires_in: float
    session_id: str
    tenant_id: str
    operator_id: str
    properties: list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Seen:
    """One read as it came: `took` seconds from asking to reading it all; `timing` its `Server-Timing`."""

    body: Mapping[str, Any]
    took: float
    timing: str = ""


@dataclass(frozen=True, slots=True)
class Changed:
    """The answer to a mutation as it came: `body` to the byte, `replayed` where it is an earlier one's."""

    status: int
    body: bytes
    took: float
    replayed: bool

    @property
    def said(self) -> Mapping[str, Any]:
        """The body as JSON."""
        found: Mapping[str, Any] = msgspec.json.decode(self.body)
        return found


class Desk:
    """A desk at `base`, the server's origin, asked through `client`; it waits `patience` seconds for an answer."""

    def __init__(
        self, client: httpx.AsyncClient, base: str, outside: Outside, *, device: str, patience: float = PATIENCE
    ) -> None:
        self._client = client
        self.patience = patience
        self.base = base.rstrip("/")
        self._outside = outside
        self.device = device
        self.key = make_key(outside.entropy)
        self.session: Session | None = None
        self._renew_at = 0.0

    async def sign_in(self, who: Operator) -> Session:
        """A new session. Raises `Refused`."""
        body = {"tenant": who.tenant, "operator": who.operator, "password": who.password, "deviceId": self.device}
        return self._hold(await self.ask("POST", "/v1/session", body=body, bare=True))

    async def renew(self) -> Session:
        """A new pair of tokens. Raises `Refused`."""
        assert self.session is not None, "sign in first"
        body = {"refreshToken": self.session.refresh_token}
        return self._hold(await self.ask("POST", "/v1/session/refresh", body=body, bare=True))

    async def sign_out(self) -> None:
        """End the session. Raises `Refused`."""
        await self.ask("DELETE", "/v1/session")
        self.session = None

    async def dashboard(self, property_id: str | None = None, *, deadline_ms: int | None = None) -> Seen:
        """The dashboard of a property, the session's first where none is said. Raises `Refused`."""
        assert self.session is not None, "sign in first"
        chosen = property_id or self.session.properties[0]["id"]
        return await self.get("/v1/dashboard", {"propertyId": chosen}, deadline_ms=deadline_ms)

    async def get(self, path: str, params: dict[str, str] | None = None, *, deadline_ms: int | None = None) -> Seen:
        """What is there at `path`, with tokens that are renewed in time. Raises `Refused`."""
        if self._outside.now() >= self._renew_at:
            await self.renew()
        began = trio.current_time()
        headers = {} if deadline_ms is None else {"x-deadline-ms": str(deadline_ms)}
        answer = await self.ask("GET", path, params=params, headers=headers)
        took = trio.current_time() - began
        return Seen(answer.json(), took, answer.headers.get("server-timing", ""))

    async def change(
        self, path: str, body: Any, key: str, *, method: str = "POST", attestation: str | None = None
    ) -> Changed:
        """One try of a mutation with its idempotency key. Raises `Refused` for what is no 2xx."""
        if self._outside.now() >= self._renew_at:
            await self.renew()
        began = trio.current_time()
        headers = {"idempotency-key": key, **({} if attestation is None else {"x-mfa-attestation": attestation})}
        answer = await self.ask(method, path, headers=headers, body=body)
        replayed = answer.headers.get("idempotent-replayed") == "true"
        return Changed(answer.status_code, answer.content, trio.current_time() - began, replayed)

    async def step_up(self, action: str, resource: str, code: str) -> str:
        """An attestation for `action` on `resource`, by the operator's second factor. Raises `Refused`."""
        body = {"action": action, "resource": resource, "code": code}
        answer = await self.ask("POST", "/v1/session/step-up", body=body)
        attestation: str = answer.json()["attestation"]
        return attestation

    async def ask(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        body: Any = None,
        bare: bool = False,
    ) -> httpx.Response:
        """One request with its proof; `bare` leaves the token out. Raises `Refused` for what is no 2xx."""
        twice = method != "POST" or "idempotency-key" in (headers or {})

        def request() -> httpx.Request:
            proved = self.proved(method, path, headers, bare=bare)
            return self._client.build_request(method, f"{self.base}{path}", params=params, headers=proved, json=body)

        with within(self.patience):
            try:
                answer = await self._sent(request, twice)
            except httpx.HTTPError as error:
                raise Refused(0, "UNREACHABLE", f"{self.base} does not answer ({type(error).__name__})") from None
            return _accepted(answer)
        raise Refused(0, "UNREACHABLE", f"{self.base} did not answer within {self.patience:.0f} s")

    async def _sent(self, request: Callable[[], httpx.Request], twice: bool) -> httpx.Response:
        """Once more where the connection broke and asking `twice` does no harm: with a proof of its own."""
        try:
            return await self._client.send(request())
        except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
            if not twice:
                raise
        return await self._client.send(request())

    def proved(
        self, method: str, path: str, extra: Mapping[str, str] | None = None, *, bare: bool = False
    ) -> dict[str, str]:
        """The headers of one request: its proof, its token unless `bare`, and what is `extra`. For one use."""
        token = self.session.access_token if self.session is not None and not bare else None
        proof = make_proof(
            self.key,
            method,
            f"{self.base}{path}",
            token=token,
            now=self._outside.now(),
            jti=self._outside.identifier(),
        )
        headers = {"dpop": proof, "x-device-id": self.device, **(extra or {})}
        return headers if token is None else {**headers, "authorization": f"DPoP {token}"}

    def _hold(self, answer: httpx.Response) -> Session:
        self.session = msgspec.json.decode(answer.content, type=Session)
        self._renew_at = self._outside.now() + max(0.0, self.session.expires_in - RENEW_BEFORE)
        return self.session


def _accepted(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    try:
        problem = answer.json()
        raise Refused(answer.status_code, problem["code"], problem["detail"], problem)
    except (ValueError, KeyError, TypeError):
        raise Refused(answer.status_code, str(answer.status_code), "an answer that is no problem document") from None
