"""When an answer is not what it should be: the path of the field that drifted (F-15).

msgspec stops at the first field that does not fit and writes its path at the end of the message
(``Expected `int`, got `str` - at `$.rooms` ``). On-call needs just that: which field, and what came instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from bff.model import TenantId

T = TypeVar("T")
# What decoding may raise: for text that is no UTF-8 and for nesting without end msgspec has no error of its own.
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_WHERE = re.compile(r"(?P<what>.*?)(?: - at (?:`key` in )?`(?P<path>[^`]+)`)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Drift:
    """What did not fit. `path` as `$.rates[0].amountMinor`; `$` is the whole answer."""

    path: str
    message: str


def described(error: Exception) -> Drift:
    """The drift behind one of `UNREADABLE`; the message holds types and names, never values of the answer."""
    if isinstance(error, msgspec.ValidationError):
        found = _WHERE.fullmatch(str(error))
        if found:
            return Drift(found["path"] or "$", found["what"])
    return Drift("$", "nested too deeply" if isinstance(error, RecursionError) else "not JSON")


def parsed(body: bytes, decoder: msgspec.json.Decoder[T], tenant: TenantId | None) -> T | Drift:
    """`body` as the struct of `decoder`, or where it drifted; another tenant's answer than `tenant`'s is drift too.

    The tenant is compared on the parsed value, so that a second `tenantId` member cannot hide behind the first.
    """
    try:
        value = decoder.decode(body)
        owner: Any = getattr(value, "tenant_id", None)
    except UNREADABLE as error:
        return described(error)
    if tenant is not None and owner != tenant:
        return Drift("$.tenantId", "the answer belongs to another tenant")
    return value
