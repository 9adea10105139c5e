"""What this service uses of what it may: instances, streams, connections, bytes to Pub/Sub (F-39, F-40).

    instances     processes that said in the session tier that they are here, of `BFF_BUDGET_INSTANCES`
    streams       open in this process, of `BFF_STREAMS`
    egress        bytes that all processes have published today (UTC), of `BFF_BUDGET_EGRESS`
    connections   to PostgreSQL, by its own count, of those that it takes (those of each Redis: `watch-redis`)

A figure over its budget is said once, and again after it has been below. Nothing is halted for money: what helps are
`sse-timeout` and `telemetry-sample`, which a person turns. A process that ended counts for as long as it was last
attested, and one that cannot reach the tier is not counted by others, which is the truth for whoever sends work here.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from bff.facts.cost import BudgetExceeded, BudgetMeasured, InstancesSeen, StoreConnected
from bff.jobs.asking import in_time
from bff.model import Down
from nurseries import tell

if TYPE_CHECKING:
    from collections.abc import Callable

    from bff.budgets import Budgets
    from bff.outside import Outside
    from bff.stores.ledger import Ledger
    from bff.stores.tier import SessionTier

JOB: Final = "watch-budgets"
EVERY: Final = 15.0  # seconds
HERE: Final = 45.0  # seconds that a process counts as here after it last said so
DAY: Final = 86_400


class BudgetWatch:
    """Of one process. `streams` gives how many are open here and may be, `sent` bytes published since it began."""

    def __init__(
        self,
        tier: SessionTier,
        ledger: Ledger,
        budgets: Budgets,
        outside: Outside,
        *,
        streams: Callable[[], tuple[int, int]],
        sent: Callable[[], int],
    ) -> None:
        self._tier = tier
        self._ledger = ledger
        self._budgets = budgets
        self._now = outside.now
        self._name = outside.identifier()
        self._streams = streams
        self._sent = sent
        self._said_sent = 0
        self._over: set[str] = set()

    async def serve(self) -> None:
        """For ever; a service for an owner."""
        while True:
            await self.turn()
            await trio.sleep(EVERY)

    async def turn(self) -> None:
        """Say that this process is here, and look at each budget."""
        sent = self._sent()
        day, more = int(self._now() // DAY), sent - self._said_sent
        here = await in_time(partial(self._tier.attend, self._name, HERE, day=day, sent=more))
        if not isinstance(here, Down):
            self._said_sent = sent
            tell(InstancesSeen(here.processes))
            self._judge("instances", here.processes, self._budgets.instances)
            self._judge("egress", here.sent, self._budgets.egress)
        self._judge("streams", *self._streams())
        size = await in_time(self._ledger.size)
        if not isinstance(size, Down):
            tell(StoreConnected("postgres", size.connections, size.most_connections))

    def _judge(self, budget: str, used: int, allowed: int) -> None:
        tell(BudgetMeasured(budget, used, allowed))
        over = 0 < allowed < used
        if over and budget not in self._over:
            tell(BudgetExceeded(budget, used, allowed))
        self._over = self._over | {budget} if over else self._over - {budget}
