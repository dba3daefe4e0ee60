"""One session of the handshake era at its instance: what arrives from the client, until the server takes it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from broker_plane.transports.hosting import HostedSession
from broker_plane.transports.nats.in_order import InOrder
from broker_plane.transports.nats.outbox import Outbox
from broker_plane.transports.nats.wire_form import AGAIN, ALIVE_SECONDS, GOT, number_in

IDLE_SECONDS = 12 * ALIVE_SECONDS
"""A client says every few seconds that it is there; after this without a word it has ended."""

_LINGER_SECONDS = 2 * ALIVE_SECONDS
"""How long the last messages wait for the client, after the server has ended."""

_POLL_SECONDS = 0.02


class ServedSession:
    """A session, from its first message to its last."""

    def __init__(self, outbox: Outbox, most_bytes: int) -> None:
        self.outbox = outbox
        self._most_bytes = most_bytes
        self._arriving = InOrder(most_bytes)
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._held = 0
        self._now = asyncio.get_running_loop().time
        self._heard = self._now()
        self._hosted: HostedSession | None = None

    def put(self, line: bytes) -> None:
        self._held += len(line)
        self._lines.put_nowait(line)

    def end(self) -> None:
        """The client has ended the session."""
        self._lines.put_nowait(None)

    async def take(self, payload: bytes, headers: Mapping[str, str]) -> bool:
        """Take a message of the client. False: it must come again, after one that is missing, or when there is room."""
        self._heard = self._now()
        await self.outbox.got(number_in(headers, GOT))
        if AGAIN in headers:
            await self.outbox.say_again()
        if self._arriving.is_old(headers):  # a sign of life, or a message that comes again
            return True
        if not self._arriving.is_next(headers) or self._held + len(payload) > self._most_bytes:
            return False
        line = self._arriving.take(payload, headers)
        if line is not None:
            self.put(line)
        return True

    async def run(self, hosted: HostedSession) -> None:
        """Pass messages on until the client or the server ends the session."""
        self._hosted = hosted
        work = [asyncio.create_task(each) for each in (self._pass_on(hosted), hosted.ended(), self._until_idle())]
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in work:
                if task.done():
                    await task
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
        if work[1].done() and not work[1].cancelled():
            await self._until_heard(_LINGER_SECONDS)

    async def settled(self, seconds: float) -> None:
        """Wait up to `seconds` until every request is answered."""
        if self._hosted is not None:
            await self._hosted.settled(seconds)
            await self._until_heard(min(seconds, _LINGER_SECONDS))

    async def _pass_on(self, hosted: HostedSession) -> None:
        while (line := await self._lines.get()) is not None:
            await hosted.from_client(line + b"\n")
            self._held -= len(line)

    async def _until_idle(self) -> None:
        while (left := self._heard + IDLE_SECONDS - self._now()) > 0:  # noqa: ASYNC110  # it is set anew often
            await asyncio.sleep(left)

    async def _until_heard(self, seconds: float) -> None:
        """Wait up to `seconds` until the client has the last messages; a sign of life asks it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.outbox.alive()
                while not self.outbox.is_empty:  # noqa: ASYNC110  # once, at the end of a session
                    await asyncio.sleep(_POLL_SECONDS)
