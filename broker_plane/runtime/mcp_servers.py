"""`plane.mcp_servers`: the MCP servers on this NATS, as their instances and the stored calls show them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from broker_plane.broker.discovery import service_statistics
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.request_queues import RequestQueue, request_queues


@dataclass(frozen=True, slots=True)
class McpInstance:
    """A process of a server. The counts are since its start; `running` are the durable calls that it carries out, by
    exchange, with the number of the attempt."""

    id: str
    process: str
    """`<host>:<process id>`"""
    started: str
    requests: int
    errors: int
    last_error: str
    running: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class McpServer:
    """A server on NATS. `tools` is -1 if it lists none; `waiting` are stored calls that no process has claimed."""

    name: str
    title: str
    version: str
    mcp_versions: tuple[str, ...]
    tools: int
    instances: tuple[McpInstance, ...]
    waiting: int
    claimed: int

    @property
    def requests(self) -> int:
        """How many requests its instances have answered since their start."""
        return sum(each.requests for each in self.instances)

    @property
    def errors(self) -> int:
        """How many of them failed: the server behind an instance could not be reached, or broke."""
        return sum(each.errors for each in self.instances)

    @property
    def health(self) -> str:
        """`ok`, or what an operator should look at."""
        waits = f"{self.waiting} call{'s' * (self.waiting != 1)} wait{'s' * (self.waiting == 1)}"
        if not self.instances:
            return f"no instance; {waits}" if self.waiting else "no instance"
        failed = next((each.last_error for each in self.instances if each.last_error), "")
        return "; ".join(filter(None, [waits if self.waiting else "", failed and f"last error: {failed}"])) or "ok"

    def to_wire(self) -> dict[str, Any]:
        """As JSON."""
        instances = [
            {name: getattr(each, name) for name in ("id", "process", "started", "requests", "errors", "last_error")}
            | {"running": len(each.running)}
            for each in self.instances
        ]
        return {
            "name": self.name,
            "title": self.title,
            "version": self.version,
            "mcp_versions": list(self.mcp_versions),
            "tools": self.tools,
            "instances": instances,
            "requests": self.requests,
            "errors": self.errors,
            "waiting": self.waiting,
            "health": self.health,
        }


class McpServers:
    """The MCP servers on this NATS. Needs the role `plane`."""

    def __init__(self, wiring: Wiring) -> None:
        self._connection = wiring.connection

    async def list(self, name: str = "") -> list[McpServer]:
        """Return the servers, by name: those with an instance, and those without one for which calls are stored.

        Raises:
            BrokerUnavailableError, NotPermittedError.
        """
        prefix = self._connection.names.prefix
        instances: dict[str, list[tuple[Mapping[str, Any], McpInstance]]] = {}
        async with aclosing(service_statistics(self._connection, name)) as answers:
            async for answer in answers:
                metadata, server = _mapping(answer.get("metadata")), answer.get("name")
                if metadata.get("protocol") == "mcp" and metadata.get("plane") == prefix and isinstance(server, str):
                    instances.setdefault(server, []).append((metadata, _instance(answer, metadata)))
        queues = {queue.server: queue for queue in await request_queues(self._connection) if queue.carrier == "n"}
        stored = {server for server, queue in queues.items() if queue.waiting or queue.claimed}
        names = sorted(each for each in instances.keys() | stored if name in ("", each))
        return [_server(each, instances.get(each, []), queues.get(each)) for each in names]


def _server(name: str, found: list[tuple[Mapping[str, Any], McpInstance]], queue: RequestQueue | None) -> McpServer:
    metadata = found[0][0] if found else {}
    versions, tools = _text(metadata.get("mcp_versions")), _text(metadata.get("tools"))
    return McpServer(
        name=name,
        title=_text(metadata.get("server_name")),
        version=_text(metadata.get("server_version")),
        mcp_versions=tuple(filter(None, versions.split(","))),
        tools=int(tools) if tools.isascii() and tools.isdecimal() else -1,
        instances=tuple(sorted((instance for _, instance in found), key=lambda each: each.started)),
        waiting=queue.waiting if queue else 0,
        claimed=queue.claimed if queue else 0,
    )


def _instance(answer: Mapping[str, Any], metadata: Mapping[str, Any]) -> McpInstance:
    """An instance as it describes itself, which may be another program."""
    endpoints = answer.get("endpoints")
    endpoint = _mapping(endpoints[0]) if isinstance(endpoints, list) and endpoints else {}
    running = _mapping(endpoint.get("data")).get("running")
    runs = [_mapping(each) for each in running] if isinstance(running, list) else []
    return McpInstance(
        id=_text(answer.get("id")),
        process=_text(metadata.get("process")),
        started=_text(answer.get("started")),
        requests=_number(endpoint.get("num_requests")),
        errors=_number(endpoint.get("num_errors")),
        last_error=_text(endpoint.get("last_error")),
        running={_text(each.get("exchange")): _number(each.get("attempt")) for each in runs},
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> int:
    return value if type(value) is int else 0
