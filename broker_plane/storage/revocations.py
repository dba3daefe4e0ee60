"""The watch of `bp_grants` for revocations: a plain subscription, and what it missed read from the stream by sequence.

A plain subscription is the fastest way there is to hear of an entry and makes no consumer; it loses what is written
while the connection is away. So after every break, as at the start, the bucket is compared with its copy, and all that
changed since is read, before it is trusted again. It also hears writes that the stream refuses: only the plane may
write here, and whoever revokes tries until the entry stands, so that a revocation is at worst heard of too early.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from nats.aio.msg import Msg

from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.grant_state import revoked_until
from broker_plane.plane.revoked import Revoked
from broker_plane.storage.connection import Connection
from broker_plane.storage.copies import Gate
from broker_plane.storage.direct import batch, sequence_of
from broker_plane.storage.streams import GRANTS

_SUBJECT = f"$KV.{GRANTS}."
_PAUSE_SECONDS = 0.1
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
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

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
                    if await self._verify():
                        self._read_to = 0  # what was restored has sequences that were read before
                    await self._read_what_changed()
                    self._revoked.complete = True
                    self._gate.open()
                    while True:
                        self._take(await listening.next(None))
                except BrokerPlaneError:
                    self._revoked.complete = False
                    self._gate.shut()
                    await asyncio.sleep(_PAUSE_SECONDS)

    async def _read_what_changed(self) -> None:
        """Take every entry that was written since the last reading began."""
        while True:
            request = {"batch": _AT_ONCE, "seq": self._read_to + 1, "next_by_subj": f"{_SUBJECT}>"}
            before = self._read_to
            async for message in batch(self._connection, f"KV_{GRANTS}", request):
                self._take(message, (message.headers or {}).get("Nats-Subject", ""))
                self._read_to = sequence_of(message)
            if self._read_to == before:
                return

    def _take(self, message: Msg, subject: str = "") -> None:
        until = revoked_until(message.data)
        if until is not None:
            self._revoked.add((subject or message.subject).removeprefix(_SUBJECT), until)
