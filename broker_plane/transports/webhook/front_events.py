"""The messages of a session as server-sent events, beside its callback. A stream that ends does not end the session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing

from starlette.types import Receive, Send

from broker_plane.errors import RateLimitedError
from broker_plane.plane.exchanges.outbox import Outgoing, SessionOutbox
from broker_plane.transports.webhook.sessions import WebhookSessions
from broker_plane.web.heartbeats import HEARTBEAT_SECONDS, departure, items_or_heartbeats
from broker_plane.web.sse import HEARTBEAT, begin_events, end_events, event, piece

MOST_STREAMS = 256
_RETRY_MILLISECONDS = 1000

Changes = Callable[[str], AbstractAsyncContextManager[asyncio.Event]]
"""For a block, an event that is set whenever something was stored for a session."""


class FrontEvents:
    """Streams of the sessions of one server."""

    def __init__(self, server: str, sessions: WebhookSessions, outbox: SessionOutbox, changes: Changes) -> None:
        self._server = server
        self._sessions = sessions
        self._outbox = outbox
        self._changes = changes
        self._open = 0
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End all streams; their clients reconnect."""
        self._closing.set()

    async def stream(self, session: str, caller: str, after: int, receive: Receive, send: Send) -> None:
        """Answer with the messages behind the position `after`, until the client leaves or the session is closed.

        Raises:
            McpSessionNotFoundError: it is unknown or closed, or another caller opened it.
            RateLimitedError: there are too many streams.
        """
        await self._sessions.used(session, caller)
        if self._open >= MOST_STREAMS:
            raise RateLimitedError("This front has too many open streams; use the callback", retry_after=30)
        self._open += 1
        try:
            await begin_events(send, _RETRY_MILLISECONDS)
            async with (
                departure(receive, self._closing) as leaving,
                aclosing(self._following(session, after)) as messages,
                aclosing(items_or_heartbeats(messages, HEARTBEAT_SECONDS, leaving)) as items,
            ):
                async for item in items:
                    if item is None and await self._sessions.find(session) is None:
                        break
                    await send(piece(HEARTBEAT if item is None else _event(item)))
            await end_events(send)
        finally:
            self._open -= 1

    async def _following(self, session: str, after: int) -> AsyncGenerator[Outgoing, None]:
        """The messages that are stored, and then each that comes."""
        async with self._changes(session) as changed:
            while True:
                changed.clear()
                async with aclosing(self._outbox.after(self._server, session, after)) as messages:
                    async for outgoing in messages:
                        after = outgoing.position
                        yield outgoing
                await changed.wait()


def _event(outgoing: Outgoing) -> bytes:
    return event("message", str(outgoing.position), outgoing.said.line.strip())
