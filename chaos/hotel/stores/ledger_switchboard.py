"""The switchboard of a simulated ledger: what `bff.stores.postgres_switchboard` does, by the same port."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bff.stores.trail import HOUSE
from chaos.hotel.stores.rows import Rows

if TYPE_CHECKING:
    from bff.model import Down
    from bff.stores.switchboard import Switch
    from chaos.hotel.stores.journal import Journal
    from chaos.hotel.stores.ledger import SimLedger
    from chaos.hotel.stores.ledger_trail import TrailTables


class SwitchTables:
    """What is kept."""

    def __init__(self, journal: Journal, trail: TrailTables) -> None:
        self._switches: Rows[str, Switch] = Rows(journal)
        self._trail = trail

    def all(self) -> tuple[Switch, ...]:
        """Those that were ever turned, by name."""
        return tuple(sorted(self._switches.values(), key=lambda switch: switch.name))

    def turn(self, switch: Switch, entry: str, only_from: str | None) -> bool:
        """Turn it and say so, if it has the value that it should have."""
        kept = self._switches.get(switch.name)
        if only_from is not None and only_from != (kept.value if kept is not None else ""):
            return False
        self._trail.add(HOUSE, (entry,))
        self._switches.put(switch.name, switch)
        return True


class SwitchboardSession:
    """`bff.stores.switchboard.Switchboard`, for one process."""

    def __init__(self, store: SimLedger) -> None:
        self.store = store

    async def switches(self) -> tuple[Switch, ...] | Down:
        """Those that were ever turned, by name."""
        return await self.store.asked(self.store.switches.all)

    async def turn(self, switch: Switch, entry: str, *, only_from: str | None = None) -> bool | Down:
        """Turn it, and add `entry` to the house's trail, in one commit; False when it had another value."""
        return await self.store.asked(lambda: self.store.switches.turn(switch, entry, only_from))
