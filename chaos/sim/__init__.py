"""The virtual world: an in-memory network on the Trio clock."""
