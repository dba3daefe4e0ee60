"""Owners and their buckets: whoever may register keys gets a bucket, made by the plane, because it may make none."""

from __future__ import annotations

from contextlib import suppress

import nats.errors
from nats.aio.msg import Msg

from broker_plane.broker.connection import Connection
from broker_plane.broker.errors import NO_RESPONDERS
from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError, NotPermittedError, StorageError
from broker_plane.plane.retry import patiently
from broker_plane.storage.keys import owners_with_keys, ring_subject
from broker_plane.storage.layout import ensure_bodies
from broker_plane.wire.names import BodyId, chunk_subject, is_owner

_QUEUE = "bp"
_PROBE = BodyId("-")
"""No body's id, so nothing that a test of the bucket might leave could be read."""


class OwnersBuckets:
    """Makes the bucket of each owner with registered keys: of those that are there, and of those that come."""

    def __init__(self, connection: Connection, replicas: int) -> None:
        self._connection = connection
        self._replicas = replicas

    async def start(self) -> None:
        # First listen, then look: who registers in between is seen twice, which does no harm.
        await self._connection.client.subscribe(ring_subject("*"), queue=_QUEUE, cb=self._registered)
        for owner in await owners_with_keys(self._connection):
            await ensure_bodies(self._connection, owner, self._replicas)

    async def _registered(self, message: Msg) -> None:
        owner = message.subject.rpartition(".")[2]
        if is_owner(owner):
            with suppress(
                BrokerPlaneError, nats.errors.Error
            ):  # its next registration, or the next bridge, tries again
                await ensure_bodies(self._connection, owner, self._replicas)


async def bucket_awaited(connection: Connection, owner: str, seconds: float) -> None:
    """The bucket of `owner` takes messages; for a resource server, which may neither make nor look at it.

    Raises:
        StorageError: it does not after `seconds`, and whoever runs the plane can change that.
        NotPermittedError: this user is not the one of `owner`.
    """
    try:
        await patiently(lambda: _touch(connection, owner), max(seconds, connection.patience))
    except BrokerUnavailableError as error:
        if error.reason != NO_RESPONDERS:
            raise
        raise StorageError(
            f"There is no bucket for the owner {owner}. A bridge makes it when it runs; without one: "
            f"`broker-plane owners add {owner}` with the plane's password"
        ) from error


async def _touch(connection: Connection, owner: str) -> None:
    """Publish what the stream refuses: that it refuses shows that it is there, and nothing is stored."""
    headers = {"Nats-Expected-Stream": "-"}
    try:
        await connection.store(chunk_subject(owner, _PROBE), b"", headers)
    except (BrokerUnavailableError, NotPermittedError):
        raise
    except StorageError:
        return
