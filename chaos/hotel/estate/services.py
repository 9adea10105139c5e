"""The fifteen services of CONTRACT section 8, made from one morning. Each has a memory of its own from then on."""

from __future__ import annotations

from collections.abc import Callable

from chaos.hotel.estate.billing import Billing
from chaos.hotel.estate.boards import housekeeping, maintenance
from chaos.hotel.estate.control import Authority
from chaos.hotel.estate.grounds import Grounds
from chaos.hotel.estate.hotel import Hotel
from chaos.hotel.estate.house import Houses, Inventory
from chaos.hotel.estate.iam import Iam
from chaos.hotel.estate.insight import Advisor, Analytics
from chaos.hotel.estate.locks import Locks
from chaos.hotel.estate.notification import Notifications
from chaos.hotel.estate.pricing import Rates
from chaos.hotel.estate.pubsub import PubSub
from chaos.hotel.estate.reservation import Reservations
from chaos.hotel.estate.service import Service
from chaos.hotel.estate.signing import Entropy
from chaos.hotel.estate.sync import Sync
from chaos.hotel.estate.tenant import Tenants


def build_services(
    hotel: Hotel, *, now: Callable[[], float], entropy: Entropy, token_ttl: int, seed: int = 0
) -> tuple[list[Service], Authority]:
    """The services, and what only they can do for tests of a gate.

    `now` gives POSIX seconds; `token_ttl` is in seconds; `seed` decides which answers a fault with a `rate` falls on.
    The same arguments and the same calls give the same answers, byte for byte.
    """
    grounds = Grounds(hotel, now)
    iam, tenants, pubsub = Iam(grounds, entropy, ttl=token_ttl), Tenants(grounds), PubSub(now)
    tables = {
        "iam": iam.operations(),
        "tenant": tenants.operations(),
        "property": Houses(grounds).operations(),
        "reservation": Reservations(grounds).operations(),
        "inventory": Inventory(grounds).operations(),
        "pricing": Rates(grounds).operations(),
        "housekeeping": housekeeping(grounds).operations(),
        "maintenance": maintenance(grounds).operations(),
        "billing": Billing(grounds).operations(),
        "lock-integration": Locks(grounds).operations(),
        "notification": Notifications(grounds).operations(),
        "sync": Sync(grounds).operations(),
        "analytics": Analytics(grounds).operations(),
        "ai-orchestrator": Advisor(grounds).operations(),
        "pubsub": pubsub.operations(),
    }
    services = {name: Service(name, table, tenants=hotel.by_tenant, seed=seed) for name, table in tables.items()}

    def stand(tenant: str, status: str) -> bool:
        services["tenant"].changed()
        return tenants.stand(tenant, status)

    return list(services.values()), Authority(iam.mint, iam.revoke, stand, pubsub)
