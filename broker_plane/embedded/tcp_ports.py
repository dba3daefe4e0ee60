"""Ports of the last run, used again where they are free: attached processes and handed-out URLs then go on working."""

from __future__ import annotations

import socket


def if_free(port: int) -> int:
    """The same port, if a server on loopback could listen on it now; else 0."""
    with socket.socket() as probe:
        # As servers do: connections that have only just ended do not keep the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port
