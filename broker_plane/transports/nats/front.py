"""A server on NATS: one instance of it, which answers what clients publish below `bp.mcp.<server>.in`."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from broker_plane import __version__
from broker_plane.broker.connection import Connection
from broker_plane.broker.service import DescribedEndpoint, ServiceCounts, describing
from broker_plane.config import Settings
from broker_plane.plane.announcements.ports import ServiceDescription
from broker_plane.transports.describing import ServerFacts
from broker_plane.transports.hosting import ServerHost
from broker_plane.transports.nats.connecting import carrier_connection
from broker_plane.transports.nats.durable_server import DurableServer
from broker_plane.transports.nats.request_server import RequestServer
from broker_plane.transports.nats.session_server import SessionServer
from broker_plane.transports.nats.wire_form import new_id, parse_server_name

_SEMANTIC = re.compile(r"\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?\Z")
_MAX_TEXT = 200


@asynccontextmanager
async def nats_front(
    host: ServerHost, facts: ServerFacts, server: str, settings: Settings, *, drain_seconds: float = 10.0
) -> AsyncIterator[str]:
    """Serve a host on NATS for the time of the block; yields the word for clients, `nats:NAME`.

    At the end, it takes no more work, and finishes what is under way within `drain_seconds`.

    Raises:
        ConfigError, BrokerUnavailableError, NotPermittedError, StoreFullError: it cannot be served.
    """
    parse_server_name(server)
    async with carrier_connection(settings) as connection:
        counts = ServiceCounts()
        most = settings.max_proxy_message_bytes
        front = NatsFront(connection, host, server, most, counts, drain_seconds=drain_seconds)
        endpoint = DescribedEndpoint(
            name="rpc",
            subject=connection.names.mcp_subject(server, "rpc", ">"),
            counts=counts,
            data=front.statistics,
        )
        try:
            await front.start()
            async with describing(connection, service_of(facts, server, connection.names.prefix), [endpoint]):
                yield f"nats:{server}"
        finally:
            await front.close()


def service_of(facts: ServerFacts, server: str, prefix: str) -> ServiceDescription:
    """What the server says of itself as a service of NATS (ADR-32)."""
    shown = " ".join(filter(None, [facts.title or facts.name or server, facts.version]))
    return ServiceDescription(
        name=server,
        id=new_id(),
        version=facts.version if _SEMANTIC.match(facts.version) else "0.0.0",
        description=f"MCP server: {shown}"[:_MAX_TEXT],
        metadata={
            "protocol": "mcp",
            "mcp_versions": ",".join(facts.versions),
            "server_name": facts.name[:_MAX_TEXT],
            "server_version": facts.version[:_MAX_TEXT],
            "tools": str(facts.tools) if facts.tools >= 0 else "",
            "plane": prefix,
            "broker_plane": __version__,
            "process": f"{socket.gethostname()}:{os.getpid()}",
        },
    )


class NatsFront:
    """One instance."""

    def __init__(
        self,
        connection: Connection,
        host: ServerHost,
        server: str,
        most_bytes: int,
        counts: ServiceCounts,
        *,
        drain_seconds: float,
    ) -> None:
        """`drain_seconds` is how long it finishes its work when it leaves."""
        self._connection = connection
        self._drain_seconds = drain_seconds
        self._sessions = SessionServer(connection, host, server, counts, most_bytes)
        self._durable = DurableServer(connection, host, server, counts, drain_seconds)
        self._requests = RequestServer(
            connection, host, server, counts, most_bytes, self._sessions.open, self._durable.cancel
        )

    async def start(self) -> None:
        """Answer from now on. Raises BrokerUnavailableError, NotPermittedError, StoreFullError."""
        await self._sessions.start()
        await self._durable.start()
        await self._requests.start()
        await self._connection.until_served()  # else the first request of a client finds nobody

    def statistics(self) -> dict[str, Any]:
        """What `$SRV.STATS` says beside the counts: the durable requests that run here."""
        return {"running": self._durable.running()}

    async def close(self) -> None:
        """Take no more work, finish what is under way for a while, and give the rest back or answer it with errors."""
        await self._requests.leave()
        await asyncio.gather(
            self._durable.stop_working(),
            self._requests.settled(self._drain_seconds),
            self._sessions.settled(self._drain_seconds),
        )
        await self._requests.close()
        await self._sessions.close()
        await self._durable.close()
