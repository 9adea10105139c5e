"""Who is signed in: sessions, and the refresh tokens that each of them has had (RFC 9700, section 4.14.2).

    T1 ──used──► T2 ──used──► T3 ...      one family: the tokens that a session has had, each good for one use

A token used again betrays that two hold it, of whom one stole it; nobody can tell which, so the session ends. One case
is no theft: the answer was lost, and its owner asks again. So within `GRACE` the same key gets the same new pair. A key
is the thumbprint of the desk's DPoP key, which whoever merely stole a token does not have.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from chaos.hotel.estate.hotel import Operator
from chaos.hotel.estate.service import Refusal
from chaos.hotel.estate.signing import Entropy, b64url

GRACE = 10.0  # seconds in which a repeat gets what the first got
SESSIONS_KEPT = 20_000
TOKENS_KEPT = 500  # per session: over five days of a renewal each quarter of an hour


@dataclass(slots=True, eq=False)
class Session:
    """One sign-in of one operator, from one device with one key. Its tokens are those not yet forgotten, oldest first.

    `tokens` says of each what its use gave, and when; None before it is used.
    """

    id: str
    operator: Operator
    device: str
    jkt: str
    revoked: bool = False
    tokens: OrderedDict[str, tuple[float, Grant] | None] = field(default_factory=OrderedDict)


@dataclass(frozen=True, slots=True, eq=False)
class Grant:
    """A pair of tokens; `expires_at` is the access token's end, in POSIX seconds."""

    session: Session
    access_token: str
    refresh_token: str
    expires_at: int


class Sessions:
    """All sessions. `sign` makes an access token and says when it ends."""

    def __init__(self, now: Callable[[], float], entropy: Entropy, sign: Callable[[Session], tuple[str, int]]) -> None:
        self._now = now
        self._entropy = entropy
        self._sign = sign
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._by_token: dict[str, Session] = {}

    def get(self, session_id: str) -> Session | None:
        return self._sessions.get(session_id)

    def open(self, operator: Operator, device: str, jkt: str) -> Grant:
        """Sign somebody in; whose password was right is not judged here."""
        session = Session(self._entropy(16).hex(), operator, device, jkt)
        self._sessions[session.id] = session
        if len(self._sessions) > SESSIONS_KEPT:
            _, oldest = self._sessions.popitem(last=False)
            for token in oldest.tokens:
                del self._by_token[token]
        return self._grant(session)

    def refresh(self, token: str, jkt: str) -> tuple[Grant, bool]:
        """The next pair of the family, and whether it is a new one.

        Raises `Refusal` (401), and ends the session where a token is used again.
        """
        session = self._by_token.get(token)
        if session is None:
            raise Refusal(401, "INVALID_TOKEN", "no such refresh token")
        if session.revoked:
            raise Refusal(401, "SESSION_REVOKED", "the session has ended")
        used = session.tokens[token]
        if used is None:
            if jkt != session.jkt:
                raise Refusal(401, "INVALID_TOKEN", "the refresh token is bound to another key")
            grant = self._grant(session)
            session.tokens[token] = (self._now(), grant)
            return grant, True
        at, grant = used
        if jkt == session.jkt and self._now() - at <= GRACE:
            return grant, False
        session.revoked = True
        raise Refusal(401, "REFRESH_REUSED", "the refresh token was used before: the session has ended")

    def _grant(self, session: Session) -> Grant:
        access, expires_at = self._sign(session)
        grant = Grant(session, access, b64url(self._entropy(32)), expires_at)
        session.tokens[grant.refresh_token] = None
        self._by_token[grant.refresh_token] = session
        if len(session.tokens) > TOKENS_KEPT:
            forgotten, _ = session.tokens.popitem(last=False)
            del self._by_token[forgotten]
        return grant
