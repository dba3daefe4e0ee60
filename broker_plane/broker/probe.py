"""Connections as `probe`, the one user of the system account that the plane has (docs/accounts.md)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from broker_plane.broker.access import NatsAccess
from broker_plane.broker.connecting import connect
from broker_plane.broker.connection import Connection
from broker_plane.broker.urls import as_user

PROBE_SETTING = "BROKER_PLANE_NATS_PROBE_PASSWORD"


@asynccontextmanager
async def probing(
    url: str, password: str, *, timeout: float, access: NatsAccess | None = None
) -> AsyncIterator[Connection]:
    """A connection to the server at `url` as `probe`, for the time of the block. Raises as `connect`."""
    own = (access or NatsAccess()).of_user(PROBE_SETTING)
    connection = await connect(as_user(url, "probe", password), timeout=timeout, access=own, inbox="_INBOX_probe")
    try:
        yield connection
    finally:
        await connection.close()
