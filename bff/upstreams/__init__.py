"""The services behind this one: one table, one client, strict schemas."""
