"""The server's stores in memory, for virtual time."""
