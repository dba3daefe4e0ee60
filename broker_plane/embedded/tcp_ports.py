"""Reuse the ports of the last run if they are free, so that attached processes and issued URLs keep working."""

from __future__ import annotations

import socket


def if_free(port: int) -> int:
    """The port if a server can listen on it on loopback now, otherwise 0."""
    with socket.socket() as probe:
        # As servers do: connections that have just ended do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port
