"""The 14 services behind the server, as stand-ins with a memory of their own."""
