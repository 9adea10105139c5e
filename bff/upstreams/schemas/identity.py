"""iam and tenant: who the operator is, and how the tenant stands."""

from __future__ import annotations

from typing import Literal

import msgspec

Id = str
Setting = str | int | float | bool


class PropertyName(msgspec.Struct, frozen=True):
    """A property in the operator's scope."""

    id: Id
    name: str


class SignedIn(msgspec.Struct, frozen=True, rename="camel"):
    """iam's answer to signIn and refresh. `expires_in` in seconds."""

    tenant_id: Id
    operator_id: Id
    session_id: Id
    access_token: str
    refresh_token: str
    expires_in: int
    properties: tuple[PropertyName, ...]


class Revoked(msgspec.Struct, frozen=True, rename="camel"):
    """iam's answer to revoke."""

    tenant_id: Id
    session_id: Id
    revoked: bool


class Attested(msgspec.Struct, frozen=True, rename="camel"):
    """iam's answer to attestStepUp: a second factor for one action on one resource. It says itself when it ends."""

    tenant_id: Id
    attestation: str
    action: str
    resource: str


class Operator(msgspec.Struct, frozen=True, rename="camel"):
    """tenant-service: the person at the desk."""

    tenant_id: Id
    operator_id: Id
    display_name: str
    role: str
    language: str
    properties: tuple[Id, ...]


class TenantState(msgspec.Struct, frozen=True, rename="camel"):
    """tenant-service: how a tenant stands."""

    tenant_id: Id
    status: Literal["active", "suspended"]
    name: str
