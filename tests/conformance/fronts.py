"""The everything-server behind each front, as a URL of Streamable HTTP."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from uuid import uuid4

from tests.carriers import Carrier, serve_arguments, target_of
from tests.conformance.differences import COMMAND, URL
from tests.conformance.everything import PACKAGE, everything_module, importing
from tests.ports import free_port
from tests.proxy.conftest import command_proxy, running

OVER_STDIO = [sys.executable, "-c", f"from {PACKAGE}.server import mcp; mcp.run()"]
CLI = [sys.executable, "-m", "broker_plane.cli.main"]


@dataclass(frozen=True)
class Fronts:
    """What stands between the suite and the server."""

    url: str
    """Of the server itself."""
    environment: Mapping[str, str]

    @contextmanager
    def open(self, front: str) -> Iterator[str]:
        """The URL of `front`, for the time of the block."""
        with self._proxied(front) as url:
            # The everything-server answers to this name, and the suite tests that it does to no other.
            yield url.replace("127.0.0.1", "localhost")

    def _proxied(self, front: str) -> AbstractContextManager[str]:
        if front == URL:
            return command_proxy([self.url], dict(self.environment))
        if front == COMMAND:
            return command_proxy(OVER_STDIO, importing(self.environment))
        return self._carried("webhook" if front == "webhook" else "nats")

    @contextmanager
    def _carried(self, carrier: Carrier) -> Iterator[str]:
        """`proxy --http -- nats:NAME`, or `-- webhook:URL`, in front of `serve`."""
        name, port = f"everything-{uuid4().hex[:8]}", free_port()
        words = serve_arguments(carrier, name, port, f"{everything_module()}:mcp")
        environment = importing(self.environment) | {"BROKER_PLANE_WEBHOOK_NETWORKS": "127.0.0.0/8"}
        with running([*CLI, *words], environment) as server:
            assert server.stdout is not None and server.stdout.readline()  # it is ready
            with command_proxy([f"{carrier}:{target_of(carrier, name, port)}"], environment) as url:
                yield url
