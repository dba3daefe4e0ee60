"""Watches `bp_grants` for revocations with a plain subscription, and reads what it missed from the stream by sequence.

A plain subscription is the fastest notification and needs no durable, but it loses what is written while the connection
is broken. So after every break, as at the start, the bucket is compared with its copy and all changes since are read,
before it is trusted again. The subscription also gets writes that the stream refuses: only the plane may write here,
and a revocation is retried until its entry is stored, so at worst a revocation takes effect too early.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress

from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import sequence_of
from broker_plane.broker.leader import every
from broker_plane.broker.messages import Message
from broker_plane.broker.subscriptions import Subscription
from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError
from broker_plane.plane.grants.revocations import Revocations
from broker_plane.plane.grants.state import revoked_until
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.storage.copied_entries import Gate
from broker_plane.wire.plane_names import kv_stream, kv_subject

_PAUSE_SECONDS = 0.1
_SPREAD_SECONDS = 0.25
"""After this, every node of a cluster knows of the subscription; until then messages may be missed."""

_REREAD_SECONDS = 1.0
"""A node whose route to ours is being restored does not send us its revocations, so the stream is read this often."""

_BATCH = 1024


class RevocationWatch:
    """Adds past and new revocations to `revoked`, from `start` to `close`."""

    def __init__(
        self, connection: Connection, revoked: Revocations, gate: Gate, verify: Callable[[], Awaitable[bool]]
    ) -> None:
        """`verify` restores what the bucket has lost, and returns whether it had lost anything."""
        self._connection = connection
        self._names = connection.names
        self._subject = kv_subject(connection.names.grants_bucket, "")
        self._revoked = revoked
        self._gate = gate
        self._verify = verify
        self._read_to = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._gate.shut()
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        self._revoked.complete = False
        if self._task is not None:
            await cancel_and_forget(self._task)

    async def _run(self) -> None:
        while True:
            # Only a subscription that fails ends the inner loop; nats-py restores it after a break.
            with suppress(BrokerPlaneError):
                await self._watch()
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _watch(self) -> None:
        watched = f"{self._subject}>"
        async with self._connection.subscribe(watched, self._take, queued=False) as subscription:
            while True:
                try:
                    await asyncio.sleep(_SPREAD_SECONDS if self._connection.clustered else 0)
                    if await self._verify():
                        self._read_to = 0  # restored entries may have sequences that were read before
                    await self._read_what_changed()
                    self._revoked.complete = True
                    self._gate.open()
                    await self._watch_connection(subscription)
                except BrokerPlaneError as error:
                    self._revoked.complete = False
                    self._gate.shut(str(error))
                    await asyncio.sleep(_PAUSE_SECONDS)

    async def _watch_connection(self, subscription: Subscription) -> None:
        """Wait until the connection breaks; in a cluster, also read what may have been missed."""
        while True:
            try:
                async with asyncio.timeout(_REREAD_SECONDS if self._connection.clustered else None):
                    await subscription.next(None)
            except TimeoutError:
                with suppress(
                    BrokerUnavailableError
                ):  # no leader: nothing can be revoked either, and the next pass retries
                    await self._read_what_changed()

    async def _read_what_changed(self) -> None:
        """Take every entry that was written since the last time."""
        stream, start = kv_stream(self._names.grants_bucket), self._read_to + 1
        async with aclosing(every(self._connection, stream, f"{self._subject}>", start, first=_BATCH)) as entries:
            async for entry in entries:
                self._take(entry, (entry.headers or {}).get("Nats-Subject", ""))
                self._read_to = sequence_of(entry)

    def _take(self, message: Message, subject: str = "") -> None:
        until = revoked_until(message.data)
        if until is not None:
            self._revoked.add((subject or message.subject).removeprefix(self._subject), until)
