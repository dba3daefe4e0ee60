"""What announcements need of a broker, besides a Bucket: services, which other NATS tools see as well."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

ServiceAnswer = Callable[[bytes], Awaitable[bytes]]
"""Answers a request to an endpoint. A BrokerPlaneError that it raises goes to the requester."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDescription:
    """What a service says of itself (ADR-32): `id` names the process, `version` is a semantic version."""

    name: str
    id: str
    version: str
    description: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEndpoint:
    """An endpoint of a service. Requests have at most `max_bytes`, and are answered within `seconds`."""

    name: str
    subject: str
    answer: ServiceAnswer
    max_bytes: int
    seconds: float


class Services(Protocol):
    """Serves a service, and sends requests to those of others."""

    def serving(self, service: ServiceDescription, endpoint: ServiceEndpoint) -> AbstractAsyncContextManager[None]:
        """The service answers during the block, also after reconnects."""

    async def ask(self, subject: str, payload: bytes, seconds: float) -> bytes:
        """The answer of the endpoint at `subject`.

        Raises:
            PeerError: it answers with an error. BrokerUnavailableError: nobody answers there in time.
        """
