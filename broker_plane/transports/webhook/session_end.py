"""Ends sessions for good: their requests are cancelled, and their messages are not sent any more."""

from __future__ import annotations

from contextlib import aclosing
from typing import Protocol

from broker_plane.exchange.messages import ExchangeKey
from broker_plane.plane.exchanges.outbox import SessionOutbox
from broker_plane.transports.webhook.outstanding import OutstandingRequests
from broker_plane.transports.webhook.record import Callback, WebhookSession
from broker_plane.transports.webhook.sessions import WebhookSessions


class Hosting(Protocol):
    """The processes that carry out the requests, of which this may be one."""

    async def cancel(self, key: ExchangeKey) -> None:
        """Cancel a request, wherever it runs."""

    async def tell(self, session: WebhookSession, line: bytes) -> None:
        """Pass on a notification or an answer of the client."""

    async def end(self, session: WebhookSession) -> None:
        """The session was closed."""


class SessionEnd:
    """Ends the sessions of one server."""

    def __init__(
        self,
        server: str,
        sessions: WebhookSessions,
        outbox: SessionOutbox,
        outstanding: OutstandingRequests,
        hosting: Hosting,
    ) -> None:
        self._server = server
        self._sessions = sessions
        self._outbox = outbox
        self._outstanding = outstanding
        self._hosting = hosting

    async def close(self, session: str, callback: Callback | None = None) -> bool:
        """Close a session. False: it was closed already, or its callback is another one than `callback` now.

        Raises:
            ConflictError: it is changed all the time. BrokerUnavailableError: requests of it may go on.
        """
        closed = await self._sessions.close(session, callback)
        if closed is None:
            return False
        self._outstanding.closed(session)
        async with aclosing(self._outbox.requests(self._server, session)) as requests:
            async for key, _ in requests:
                await self._hosting.cancel(key)
        await self._hosting.end(closed)
        return True
