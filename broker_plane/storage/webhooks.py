"""Webhook endpoints in the bucket `bp_feeds`, and their delivery log in the JetStream stream BP_HOOKS."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import asdict
from typing import Any

import orjson

from broker_plane.broker.connection import Connection
from broker_plane.broker.leader import every
from broker_plane.errors import WireError
from broker_plane.plane.feeds.webhook_endpoints import entry_name
from broker_plane.plane.feeds.webhook_sender import Attempt
from broker_plane.storage.layout import ensure_feeds
from broker_plane.wire.plane_names import kv_stream, kv_subject
from broker_plane.wire.webhooks import Endpoint, parse_endpoint


class NatsWebhooks:
    """Lists endpoints, and keeps the delivery log."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._names = connection.names

    async def all(self) -> list[Endpoint]:
        """Return all endpoints, in the order of their last change."""
        await ensure_feeds(self._connection)
        found: list[Endpoint] = []
        async with aclosing(
            self._read(
                kv_stream(self._names.feed_state_bucket),
                kv_subject(self._names.feed_state_bucket, entry_name("*")),
            )
        ) as entries:
            async for raw in entries:
                with suppress(WireError):
                    found.append(parse_endpoint(raw))
        return found

    async def log(self, attempt: Attempt) -> None:
        """Append an attempt to the delivery log."""
        await self._connection.store(self._names.webhook_log_subject(attempt.endpoint), orjson.dumps(asdict(attempt)))

    async def attempts(self, endpoint_id: str) -> list[dict[str, Any]]:
        """Return the attempts of the last seven days, oldest first."""
        async with aclosing(
            self._read(self._names.webhook_log_stream, self._names.webhook_log_subject(endpoint_id))
        ) as lines:
            return [orjson.loads(raw) async for raw in lines]

    async def _read(self, stream: str, subject: str) -> AsyncGenerator[bytes, None]:
        async with aclosing(every(self._connection, stream, subject)) as messages:
            async for message in messages:
                if message.data:
                    yield message.data
