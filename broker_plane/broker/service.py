"""What a service says of itself to other NATS tools (ADR-32): `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson

from broker_plane.broker.connection import Connection
from broker_plane.broker.messages import Message, respond
from broker_plane.broker.subscriptions import Served
from broker_plane.plane.announcements.ports import ServiceDescription
from broker_plane.wire.urls import redact

QUEUE = "q"
"""The queue group of endpoints, as ADR-32 has it."""

_RESPONSE = "io.nats.micro.v1.{}_response"
_MAX_ERROR = 500
"""Maximum length of the text of an error, in characters."""


def shown_error(said: str) -> str:
    """The text of an error as others may see it: on one line, and without secrets."""
    return " ".join(redact(said).split())[:_MAX_ERROR]


@dataclass(slots=True)
class ServiceCounts:
    """What an endpoint has done so far; times in nanoseconds."""

    requests: int = 0
    errors: int = 0
    busy: int = 0
    last_error: str = ""

    def note(self, nanoseconds: int) -> None:
        """Count a request that took so long."""
        self.requests += 1
        self.busy += nanoseconds

    def fail(self, said: str) -> None:
        """Count a request that failed."""
        self.errors += 1
        self.last_error = shown_error(said)


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedEndpoint:
    """An endpoint as it is described; whoever made it answers its requests."""

    name: str
    subject: str
    counts: ServiceCounts
    metadata: Mapping[str, str] = field(default_factory=dict)
    data: Callable[[], Any] = lambda: None
    """What its statistics say beside the counts, as JSON."""

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "subject": self.subject, "queue_group": QUEUE}


class DescribedService:
    """Answers questions about a service. Its description may be replaced while it runs."""

    def __init__(
        self, connection: Connection, service: ServiceDescription, endpoints: Sequence[DescribedEndpoint]
    ) -> None:
        self.service = service
        self._connection = connection
        self._endpoints = endpoints
        self._served: list[Served] = []
        self._started = datetime.now(UTC)

    async def start(self) -> None:
        own = (f".{self.service.name}", f".{self.service.name}.{self.service.id}")
        for verb, fields in (("PING", self._ping), ("INFO", self._info), ("STATS", self._stats)):
            for suffix in ("", *own):
                # No queue group: every instance answers.
                answer = partial(_describe, fields)
                self._served.append(await self._connection.serve(f"$SRV.{verb}{suffix}", answer, queue=""))

    async def close(self) -> None:
        await self._connection.stop_serving(self._served)

    def _identity(self, kind: str) -> dict[str, Any]:
        service = self.service
        return {
            "type": _RESPONSE.format(kind),
            "name": service.name,
            "id": service.id,
            "version": service.version,
            "metadata": dict(service.metadata),
        }

    def _ping(self) -> dict[str, Any]:
        return self._identity("ping")

    def _info(self) -> dict[str, Any]:
        endpoints = [each.identity() | {"metadata": dict(each.metadata)} for each in self._endpoints]
        return self._identity("info") | {"description": self.service.description, "endpoints": endpoints}

    def _stats(self) -> dict[str, Any]:
        started = f"{self._started:%Y-%m-%dT%H:%M:%S}.{self._started.microsecond // 1000:03}Z"
        endpoints = [each.identity() | _counted(each.counts) | {"data": each.data()} for each in self._endpoints]
        return self._identity("stats") | {"started": started, "endpoints": endpoints}


@asynccontextmanager
async def describing(
    connection: Connection, service: ServiceDescription, endpoints: Sequence[DescribedEndpoint]
) -> AsyncIterator[DescribedService]:
    """Answer questions about a service for the time of the block."""
    described = DescribedService(connection, service, endpoints)
    try:
        await described.start()
        yield described
    finally:
        await described.close()


def _counted(counts: ServiceCounts) -> dict[str, Any]:
    return {
        "num_requests": counts.requests,
        "num_errors": counts.errors,
        "last_error": counts.last_error,
        "processing_time": counts.busy,
        "average_processing_time": counts.busy // max(1, counts.requests),
    }


async def _describe(fields: Callable[[], dict[str, Any]], message: Message) -> None:
    await respond(message, orjson.dumps(fields()))
