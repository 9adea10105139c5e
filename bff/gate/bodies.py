"""What goes over the wire around a session (CONTRACT section 6): strict in what comes, and none of it ever printed."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec

from bff.upstreams.schemas.identity import PropertyName

# Names become header fields (CONTRACT section 8) and keys: visible ASCII, and no comma, as in a token.
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[!-+\--~]+$(?!\n)")]
Password = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
Resource = Annotated[str, msgspec.Meta(min_length=1, max_length=257, pattern=r"^[!-~]+$(?!\n)")]
SecondFactor = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
RefreshToken = Annotated[str, msgspec.Meta(min_length=1, max_length=8192)]


class _Unprinted(msgspec.Struct, frozen=True):
    """Holds a password, a code or a token, and so never prints."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


class SignInBody(_Unprinted, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Who signs in, on which device."""

    EXAMPLE: ClassVar[Any] = {
        "tenant": "resort",
        "operator": "ines",
        "password": "ines-desk-2015",
        "deviceId": "desk-1",
    }
    tenant: Name
    operator: Name
    password: Password
    device_id: Name


class RefreshBody(_Unprinted, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The refresh token that came with the last pair."""

    EXAMPLE: ClassVar[Any] = {"refreshToken": "the refresh token of the last answer"}
    refresh_token: RefreshToken


class SessionBody(_Unprinted, frozen=True, rename="camel"):
    """What signing in and renewing give (CONTRACT section 6). `expires_in` in seconds."""

    token_type: str
    access_token: str
    refresh_token: str
    expires_in: int
    session_id: str
    tenant_id: str
    operator_id: str
    properties: tuple[PropertyName, ...]


class StepUpBody(_Unprinted, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What a second factor is wanted for, and the code that is it. A lock's key is named `lockId/keyId`."""

    EXAMPLE: ClassVar[Any] = {"action": "folio.refund", "resource": "f-00870", "code": "201508"}
    action: Literal["lock.revoke", "folio.refund"]
    resource: Resource
    code: SecondFactor


class AttestationBody(_Unprinted, frozen=True, rename="camel"):
    """A second factor for that action on that resource, by this session and key, usable once until `expires_at`."""

    attestation: str
    action: str
    resource: str
    expires_at: str


class PropertyInScope(msgspec.Struct, frozen=True):
    """A property that the session reaches."""

    id: str


class InHandBody(msgspec.Struct, frozen=True, rename="camel"):
    """The session in hand, as its token has it; `expires_at` is the access token's end."""

    session_id: str
    tenant_id: str
    operator_id: str
    device_id: str
    properties: tuple[PropertyInScope, ...]
    expires_at: str
