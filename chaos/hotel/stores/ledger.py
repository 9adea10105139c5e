"""The ledger in memory, in virtual time: what `bff.stores.postgres` does, by the same ports.

The store is one, and its tables are in `tables`; who asks has a session with it, as a process has connections. A
session ends with its process, and with it goes what only a session holds: the lead of a job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bff.stores.postgres_line import PINGS_WITHIN
from bff.stores.size import Size
from chaos.hotel.stores.faulty import Faulty
from chaos.hotel.stores.ledger_keys import KeysSession, KeyTables
from chaos.hotel.stores.ledger_mirrors import MirrorsSession, MirrorTables
from chaos.hotel.stores.ledger_outbox import OutboxSession, OutboxTables
from chaos.hotel.stores.ledger_switchboard import SwitchboardSession, SwitchTables
from chaos.hotel.stores.ledger_trail import TrailSession, TrailTables

if TYPE_CHECKING:
    from bff.model import Down

CONNECTIONS: Final = 97  # of a PostgreSQL as it comes


class SimLedger(Faulty):
    """The store. Its schema is always the server's.

    Each caller has a connection of his own: what one learns of a store that hangs, the next has to find out again.
    """

    def __init__(self) -> None:
        super().__init__("postgres", one_line=False)
        self.sessions = 0
        self.trail = TrailTables(self._journal)
        self.outbox = OutboxTables(self._journal)
        self.mirrors = MirrorTables(self._journal)
        self.switches = SwitchTables(self._journal, self.trail)
        self.keys = KeyTables(self._journal, self.trail, self.outbox, self.mirrors)

    def session(self) -> Session:
        """A line to it, for one process."""
        self.sessions += 1
        return Session(self)

    def down(self) -> None:
        """Refuse connections, and break those that there are; nobody leads any more."""
        super().down()
        self.outbox.break_leads()


class Session(KeysSession, TrailSession, OutboxSession, MirrorsSession, SwitchboardSession):
    """`bff.stores.ledger.Ledger`, for one process. It ends with `close`, as a process does."""

    def __init__(self, store: SimLedger) -> None:
        OutboxSession.__init__(self, store)  # the one that holds something

    async def size(self) -> Size | Down:
        """One connection for each process."""
        return await self.store.asked(lambda: Size(0, 0, self.store.sessions, CONNECTIONS))

    async def ping(self) -> Down | None:
        """One round trip, for readiness."""
        return await self.store.asked(lambda: None, patience=PINGS_WITHIN)
