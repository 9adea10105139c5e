"""Preferences: as tenant-service says them, as a desk reads and writes them, and as a copy of them is kept.

What they mean is the desktop's business: here they have names, and values that are no more than that.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final

import msgspec

from bff.upstreams.schemas.identity import Id

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Text = Annotated[str, msgspec.Meta(max_length=4096)]
Values = Annotated[dict[Name, Text | int | float | bool], msgspec.Meta(max_length=64)]
Version = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]  # what a desktop's own number can hold


class Preferences(msgspec.Struct, frozen=True, rename="camel"):
    """tenant-service, to whoever reads them."""

    tenant_id: Id
    operator_id: Id
    version: Version
    values: Values


class PreferencesBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a desk wants them to be: all of them, over the version that it has read."""

    EXAMPLE: ClassVar[Any] = {"version": 1, "values": {"language": "en", "startPage": "dashboard"}}
    version: Version
    values: Values


class PreferencesAnswer(msgspec.Struct, frozen=True):
    """What a desk is told they are; `stale` where tenant-service did not say so just now."""

    version: int
    values: Values
    stale: bool = False


_VALUES: Final[msgspec.json.Decoder[Values]] = msgspec.json.Decoder(Values)


def as_copy(values: Values) -> bytes:
    """The values as a mirror holds them: the same values are the same bytes."""
    return msgspec.json.encode(values, order="deterministic")


def of_copy(content: bytes) -> Values | None:
    """The values that a mirror holds; None for what no server of this version has written."""
    try:
        return _VALUES.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
