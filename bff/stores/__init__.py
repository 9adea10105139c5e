"""What the server keeps: the ledger, the session tier, the cache. Ports in the domain's verbs, adapters beside them."""

from typing import Final

PATIENCE: Final = 0.5  # seconds; a Redis that has not answered for so long counts as down
