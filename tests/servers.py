"""A nats-server for the tests of one directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from broker_plane.testing.server import NatsServer


@contextmanager
def running_server(root: Path) -> Iterator[NatsServer]:
    """For tests whose own bridge outlives them: at the server of all tests it would answer the pulls of others, too."""
    server = NatsServer(root)
    server.start()
    try:
        yield server
    finally:
        server.stop()
