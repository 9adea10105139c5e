"""The dashboard's widgets, as the table of CONTRACT section 4, in its order and words.

A row says which call feeds a widget, how old an answer may be to stand for a fresh one (`fresh`), and how old to be
shown as stale when the service fails (`keep`), both in seconds and 0 for never. A widget that is `optional` is left
out when there is nothing to show, and nobody calls the answer partial for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bff.facts import SchemaDrifted
from bff.model import PropertyId
from bff.stores.cache import CacheKey, Entry, Kept
from bff.upstreams import services
from bff.upstreams.client import Call
from bff.upstreams.drift import UNREADABLE, described
from bff.upstreams.schemas.money import Kpis, Tile
from bff.upstreams.schemas.signals import Cursor
from nurseries import tell

if TYPE_CHECKING:
    from bff.model import Claims
    from bff.upstreams.client import Got
    from bff.upstreams.services import Operation

MINUTE: Final = 60.0
HOUR: Final = 60 * MINUTE


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose dashboard: the operator's claims, and the property looked at.

    `cursor` is where the device was last told to be, as its session has it; None where nobody knows.
    """

    claims: Claims
    property: PropertyId
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Widget:
    """One row. `about` names what its answer belongs to (the path's fields, and with the tenant the cache's key).

    `shown` is what is shown of an answer, `stale` of one that is kept, and `hint` adds what is known of who looks.
    """

    name: str
    operation: Operation
    about: Callable[[Whose], dict[str, str]]
    fresh: float = 0.0
    keep: float = 0.0
    optional: bool = False
    shown: Callable[[Any], Any] = lambda value: value
    stale: Callable[[Any], Any] = lambda value: value
    hint: Callable[[Any, Whose], Any] = lambda value, _: value

    @property
    def cached(self) -> bool:
        return self.keep > 0

    def call(self, whose: Whose) -> Call:
        """What is asked."""
        return Call(self.operation, self.about(whose))

    def key(self, whose: Whose) -> CacheKey:
        """Where its last answer is kept: under the tenant first (F-30)."""
        parts = tuple(part for pair in self.about(whose).items() for part in pair)
        return CacheKey(whose.claims.tenant, f"widget:{self.name}", parts)


def _operator(whose: Whose) -> dict[str, str]:
    return {"operator": whose.claims.operator}


def _property(whose: Whose) -> dict[str, str]:
    return {"pid": whose.property}


def _device(whose: Whose) -> dict[str, str]:
    return {"did": whose.claims.device}


class SkeletonTile(msgspec.Struct, frozen=True):
    """A tile that did not parse; `id` where it had one."""

    id: str | None
    status: str = "skeleton"
    reason: str = "SCHEMA_DRIFT"


class ShownTile(msgspec.Struct, frozen=True):
    """A tile as a desk sees it."""

    id: str
    label: str
    value: float
    unit: str
    trend: float | None
    status: str = "ok"


class _TileId(msgspec.Struct):
    id: str | None = None


class ShownKpis(msgspec.Struct, frozen=True, rename="camel"):
    """The figures of the day, each judged on its own (F-14)."""

    tenant_id: str
    property_id: str
    date: Any
    tiles: tuple[ShownTile | SkeletonTile, ...]


_TILE = msgspec.json.Decoder(Tile, strict=True)
_TILE_ID = msgspec.json.Decoder(_TileId)


def _tile(place: int, raw: msgspec.Raw) -> ShownTile | SkeletonTile:
    try:
        tile = _TILE.decode(raw)
    except UNREADABLE as error:
        drift = described(error)
        path = f"$.tiles[{place}]{drift.path.removeprefix('$')}"
        tell(SchemaDrifted(services.KPIS.service, services.KPIS.name, path, drift.message))
        return SkeletonTile(_id_of(raw))
    return ShownTile(tile.id, tile.label, tile.value, tile.unit, tile.trend)


def _id_of(raw: msgspec.Raw) -> str | None:
    try:
        return _TILE_ID.decode(raw).id
    except UNREADABLE:
        return None


def tiles(kpis: Kpis) -> ShownKpis | None:
    """The tiles that parsed, and a skeleton for each that did not; None when there is not one to show (F-14).

    A tile that drifted is told as any drift is (F-15): on-call hears of it though the widget is still there.
    """
    shown = tuple(_tile(place, raw) for place, raw in enumerate(kpis.tiles))
    if not any(isinstance(tile, ShownTile) for tile in shown):
        return None
    return ShownKpis(kpis.tenant_id, kpis.property_id, kpis.date, shown)


def last_known(cursor: Cursor) -> Cursor:
    """A cursor out of the cache says that it may be behind (F-35)."""
    return msgspec.structs.replace(cursor, stale_sync=True)


def elsewhere(cursor: Cursor, whose: Whose) -> Cursor:
    """A device that was told to be elsewhere than the authority says has to shake hands again (F-35)."""
    if whose.cursor is None or whose.cursor == cursor.cursor:
        return cursor
    return msgspec.structs.replace(cursor, stale_sync=True)


SYNC: Final = Widget("sync", services.CURSOR, _device, keep=24 * HOUR, stale=last_known, hint=elsewhere)


def kept_cursor(claims: Claims, said: Got) -> Entry:
    """What is kept for the `sync` widget once sync-service has said where the device of `claims` is."""
    of_no_property = Whose(claims, PropertyId(""))
    return Entry(SYNC.key(of_no_property), Kept(said.at, said.body), SYNC.keep)


WIDGETS: Final = (
    Widget("operator", services.OPERATOR, _operator, fresh=MINUTE, keep=5 * MINUTE),
    Widget("property", services.PROPERTY, _property, fresh=5 * MINUTE, keep=24 * HOUR),
    Widget("occupancy", services.OCCUPANCY, _property),
    Widget("rateSnapshot", services.RATE_SNAPSHOT, _property),
    Widget("arrivals", services.ARRIVALS, _property),
    Widget("departures", services.DEPARTURES, _property),
    Widget("inHouse", services.IN_HOUSE, _property),
    Widget("housekeeping", services.HOUSEKEEPING_BOARD, _property, keep=MINUTE),
    Widget("maintenance", services.MAINTENANCE_BOARD, _property, keep=MINUTE),
    Widget("folioSummary", services.FOLIO_SUMMARY, _property),
    Widget("kpis", services.KPIS, _property, shown=tiles),
    Widget("alerts", services.INBOX, _property, keep=5 * MINUTE),
    SYNC,
    Widget("ai", services.SUGGESTIONS, _property, optional=True),
)
