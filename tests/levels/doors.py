"""Doors for one descriptor, with loopback allowed unless a test says otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from broker_plane.client.addresses import resolve
from broker_plane.client.guard import Resolver
from broker_plane.levels.door import HostDoor
from broker_plane.levels.reach_list import reach_list
from broker_plane.sandbox.ports import DoorResponse, RunLimits
from broker_plane.wire.descriptor import Descriptor, parse_descriptor

LOOPBACK = ("127.0.0.0/8",)
SECRET = "canary-5f0c1d-secret/with+signs="


def described(endpoint: str, **fields: Any) -> Descriptor:
    """A descriptor of a protocol that no handler knows; a field that is None is left out."""
    said = {
        "$schema": "mcp/transfer-descriptor/v1",
        "transfer_id": str(uuid4()),
        "mode": "fetch",
        "protocol": "acme-pages",
        "endpoint": endpoint,
        "format": "application/octet-stream",
        "description": {"tier": "high", "text": "GET the endpoint."},
        "sandbox": {"runtime": "python"},
    } | fields
    return parse_descriptor({name: value for name, value in said.items() if value is not None})


@asynccontextmanager
async def door(
    endpoint: str | Descriptor,
    *,
    limits: RunLimits | None = None,
    client: Collection[str] | None = None,
    operator: str = "*",
    networks: Sequence[str] = LOOPBACK,
    resolver: Resolver = resolve,
    **fields: Any,
) -> AsyncIterator[HostDoor]:
    """A door, closed in the end."""
    descriptor = described(endpoint, **fields) if isinstance(endpoint, str) else endpoint
    reach = reach_list(descriptor, client=client, operator=operator)
    opened = HostDoor(descriptor, limits or RunLimits(), reach=reach, networks=networks, resolver=resolver)
    try:
        yield opened
    finally:
        await opened.aclose()


async def get(opened: HostDoor, url: str, headers: dict[str, str] | None = None) -> DoorResponse:
    """GET, as code calls it."""
    return await opened.fetch("GET", url, headers or {}, b"")


async def all_of(opened: HostDoor, handle: int, at_most: int = 65_536) -> bytes:
    """Everything that a handle has until its end."""
    pieces = []
    while piece := await opened.receive(handle, at_most):
        pieces.append(piece)
    return b"".join(pieces)
