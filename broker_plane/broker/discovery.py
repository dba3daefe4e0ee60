"""Finds the services of NATS (ADR-32): all instances answer one question."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any

import orjson

from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import status
from broker_plane.errors import BrokerUnavailableError

_FIRST_SECONDS, _QUIET_SECONDS = 2.0, 0.3
"""How long the first answer is awaited, and each further one: nobody knows how many instances there are."""


async def service_statistics(connection: Connection, service: str = "") -> AsyncGenerator[Mapping[str, Any], None]:
    """What the instances of a service, or of all services, answer to `$SRV.STATS`: JSON objects of any content.

    Raises:
        NotPermittedError: this user may not ask.
    """
    async with connection.subscribe(connection.inbox()) as answers:
        await connection.publish(f"$SRV.STATS{f'.{service}' if service else ''}", b"", reply=answers.subject)
        wait = _FIRST_SECONDS
        while True:
            try:
                message = await answers.next(wait)
            except BrokerUnavailableError:
                return
            if status(message):  # there is no service
                return
            wait = _QUIET_SECONDS
            with suppress(orjson.JSONDecodeError):
                if isinstance(found := orjson.loads(message.data), dict):
                    yield found
