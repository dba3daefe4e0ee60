"""The watch of `bp_grants` for revocations: a plain subscription, and what it missed read from the stream by sequence.

A plain subscription is the fastest way there is to hear of an entry and makes no consumer; it loses what is written
while the connection is away. So after every break, as at the start, the bucket is compared with its copy, and all that
changed since is read, before it is trusted again. It also hears writes that the stream refuses: only the plane may
write here, and whoever revokes tries until the entry stands, so that a revocation is at worst heard of too early.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress

from nats.aio.msg import Msg

from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import sequence_of
from broker_plane.broker.leader import every
from broker_plane.broker.subscriptions import Listening
from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError
from broker_plane.plane.grants.revocations import Revoked
from broker_plane.plane.grants.state import revoked_until
from broker_plane.plane.tasks import abandoned
from broker_plane.storage.copies import Gate
from broker_plane.storage.layout import GRANTS

_SUBJECT = f"$KV.{GRANTS}."
_PAUSE_SECONDS = 0.1
_SPREAD_SECONDS = 0.25
"""After which every node of a cluster knows that this one listens; until then it does not count as hearing."""

_AGAIN_SECONDS = 1.0
"""A node whose route to ours is just being made again does not send us what is revoked there. It is read from here."""

_AT_ONCE = 1024


class RevocationWatch:
    """Tells `revoked` what was and what is being revoked, from `start` to `close`."""

    def __init__(
        self, connection: Connection, revoked: Revoked, gate: Gate, verify: Callable[[], Awaitable[bool]]
    ) -> None:
        """`verify` makes the bucket what it was when it was last written, and returns whether it was not."""
        self._connection = connection
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
            await abandoned(self._task)

    async def _run(self) -> None:
        while True:
            # Only a subscription that cannot be made ends the inner loop; nats-py makes it again after a break.
            with suppress(BrokerPlaneError):
                await self._watch()
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _watch(self) -> None:
        async with self._connection.listening(f"{_SUBJECT}>") as listening:
            while True:
                try:
                    await asyncio.sleep(_SPREAD_SECONDS if self._connection.clustered else 0)
                    if await self._verify():
                        self._read_to = 0  # what was restored has sequences that were read before
                    await self._read_what_changed()
                    self._revoked.complete = True
                    self._gate.open()
                    await self._hear(listening)
                except BrokerPlaneError as error:
                    self._revoked.complete = False
                    self._gate.shut(str(error))
                    await asyncio.sleep(_PAUSE_SECONDS)

    async def _hear(self, listening: Listening) -> None:
        """Take what is heard until the connection breaks, and in a cluster read again what may have been missed."""
        while True:
            try:
                async with asyncio.timeout(_AGAIN_SECONDS if self._connection.clustered else None):
                    while True:
                        self._take(await listening.next(None))
            except TimeoutError:
                with suppress(
                    BrokerUnavailableError
                ):  # no leader: then nothing is revoked either, and this is tried again
                    await self._read_what_changed()

    async def _read_what_changed(self) -> None:
        """Take every entry that was written since the last reading began."""
        stream, start = f"KV_{GRANTS}", self._read_to + 1
        async with aclosing(every(self._connection, stream, f"{_SUBJECT}>", start, first=_AT_ONCE)) as entries:
            async for entry in entries:
                self._take(entry, (entry.headers or {}).get("Nats-Subject", ""))
                self._read_to = sequence_of(entry)

    def _take(self, message: Msg, subject: str = "") -> None:
        until = revoked_until(message.data)
        if until is not None:
            self._revoked.add((subject or message.subject).removeprefix(_SUBJECT), until)
