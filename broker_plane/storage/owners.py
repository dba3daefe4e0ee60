"""Owners' buckets: the plane creates one for each owner that registers keys, because owners may not create streams."""

from __future__ import annotations

from contextlib import suppress

from broker_plane.broker.connection import Connection
from broker_plane.broker.errors import NO_RESPONDERS
from broker_plane.broker.messages import Message
from broker_plane.errors import (
    BrokerPlaneError,
    BrokerUnavailableError,
    NotPermittedError,
    StorageError,
)
from broker_plane.plane.retry import retry_while_retryable
from broker_plane.storage.keys import owners_with_keys
from broker_plane.storage.layout import ensure_bodies
from broker_plane.wire.names import BodyId, is_owner

_QUEUE = "bp"
_PROBE = BodyId("-")
"""Not the id of a body, so nothing that a test of the bucket leaves could be read."""


class OwnerBuckets:
    """Creates the bucket of each owner with registered keys, now and whenever one registers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._names = connection.names

    async def start(self) -> None:
        # Subscribe first, then list: an owner that registers in between is seen twice, which is harmless.
        subject = self._names.ring_subject("*")
        await self._connection.serve(subject, self._registered, queue=_QUEUE)
        for owner in await owners_with_keys(self._connection):
            await ensure_bodies(self._connection, owner)

    async def _registered(self, message: Message) -> None:
        owner = message.subject.rpartition(".")[2]
        if is_owner(owner):
            with suppress(BrokerPlaneError):  # retried at its next registration, or by the next bridge
                await ensure_bodies(self._connection, owner)


async def wait_for_bucket(connection: Connection, owner: str, seconds: float) -> None:
    """Wait until the bucket of `owner` accepts messages; for a resource server, which may not create or inspect it.

    Raises:
        StorageError: there is none after `seconds`; the operator of the plane can create it.
        NotPermittedError: this user is not that of `owner`.
    """
    try:
        await retry_while_retryable(lambda: _touch(connection, owner), max(seconds, connection.retry_seconds))
    except BrokerUnavailableError as error:
        if error.reason != NO_RESPONDERS:
            raise
        raise StorageError(
            f"There is no bucket for the owner {owner}. A running bridge creates it; without a bridge: "
            f"`broker-plane owners add {owner}` with the plane's password"
        ) from error


async def _touch(connection: Connection, owner: str) -> None:
    """Publish what the stream refuses: the refusal shows that it exists, and nothing is stored."""
    headers = {"Nats-Expected-Stream": "-"}
    try:
        await connection.store(connection.names.chunk_subject(owner, _PROBE), b"", headers)
    except (BrokerUnavailableError, NotPermittedError):
        raise
    except StorageError:
        return
