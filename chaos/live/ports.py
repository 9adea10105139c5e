"""Ports for servers that come and go while others keep dialling them.

A port is held by a socket that is bound to it and deaf: who dials is refused as long as the server is not there, and
yet nobody else is given the port. Without that, while a store is dead, an outgoing connection of somebody may get its
port, and then it cannot come back; and a client that keeps dialling a dead port may one day be given that very port for
its own end, and find itself connected to itself. The server binds with SO_REUSEADDR, as servers do, and may have it.
"""

from __future__ import annotations

import socket
from typing import Final

LOOPBACK: Final = "127.0.0.1"


def hold(port: int = 0) -> socket.socket:
    """A port of loopback (0: any free one), ours until the socket is closed. Raises `OSError` for one that is taken."""
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((LOOPBACK, port))
    except OSError:
        held.close()
        raise
    return held


def number(held: socket.socket) -> int:
    """Which port that is."""
    port: int = held.getsockname()[1]
    return port
