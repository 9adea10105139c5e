"""What the server keeps: the ledger, the session tier, the cache. Ports in the domain's verbs, adapters beside them."""
