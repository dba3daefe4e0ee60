"""Carries out the requests of webhook sessions, in whichever process has room, or has the session's upstream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from broker_plane.errors import UpstreamError
from broker_plane.exchange.messages import ExchangeKey
from broker_plane.plane.exchanges.ports import Asked
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.proxy.messages import Message, parse
from broker_plane.proxy.pending import GREETINGS
from broker_plane.transports.hosting import ServerHost, is_self_contained
from broker_plane.transports.webhook.call_webhooks import with_capability
from broker_plane.transports.webhook.front_work import CALLER
from broker_plane.transports.webhook.handshakes import HandshakeSessions
from broker_plane.transports.webhook.instances import FrontInstances
from broker_plane.transports.webhook.open_session import refused
from broker_plane.transports.webhook.passing import PassedOn
from broker_plane.transports.webhook.record import WebhookSession
from broker_plane.transports.webhook.sessions import WebhookSessions
from broker_plane.wire.exact_json import dumps

log = redacted_logger(__name__)

MOST_LISTENING = 512
"""Subscriptions, each of which runs until it is cancelled, in one process."""

_LISTEN = "subscriptions/listen"


class FrontHosting:
    """The Hosting port, and what an ExchangeWorker runs."""

    def __init__(
        self,
        host: ServerHost,
        instances: FrontInstances,
        sessions: WebhookSessions,
        handshakes: HandshakeSessions,
        passed_on: PassedOn,
    ) -> None:
        self._host = host
        self._instances = instances
        self._sessions = sessions
        self._handshakes = handshakes
        self._passed_on = passed_on
        self._listening = asyncio.Semaphore(MOST_LISTENING)

    async def run(self, asked: Asked) -> AsyncGenerator[bytes, None]:
        """Carry out a request; yields the messages about it, of which the answer is the last.

        Raises:
            UpstreamError: the server cannot be reached now.
        """
        message = parse(asked.line)
        if message is None:
            raise UpstreamError("A stored request is not JSON")
        lines = self._contained(message) if is_self_contained(message) else self._in_session(asked, message)
        greets = message.get("method") in GREETINGS
        async with aclosing(lines):
            async for line in lines:
                yield dumps(with_capability(parse(line) or {})) if greets else line

    async def cancel(self, key: ExchangeKey) -> None:
        """As `Hosting.cancel`."""
        await self._instances.cancel(key)

    async def tell(self, session: WebhookSession, line: bytes) -> None:
        """As `Hosting.tell`."""
        await self._handshakes.keep(session, line)
        owner = await self._handshakes.elsewhere(session)
        if owner:
            await self._passed_on.tell(owner, session, line)
        else:
            await self._handshakes.tell(session, line)

    async def end(self, session: WebhookSession) -> None:
        """As `Hosting.end`."""
        owner = await self._handshakes.elsewhere(session)
        if owner:
            await self._passed_on.end(owner, session)
        else:
            await self._handshakes.end(session.id)

    async def _contained(self, message: Message) -> AsyncGenerator[bytes, None]:
        listens = message.get("method") == _LISTEN
        if listens and self._listening.locked():
            yield refused(message, f"This server has {MOST_LISTENING} subscriptions already")
            return
        if listens:
            await self._listening.acquire()
        try:
            async with self._host.request(message) as messages:
                async for each in messages:
                    yield dumps(each)
        finally:
            if listens:
                self._listening.release()

    async def _in_session(self, asked: Asked, message: Message) -> AsyncGenerator[bytes, None]:
        session = await self._sessions.find(asked.headers.get(CALLER, asked.key.session))
        if session is None:
            yield refused(message, "The session was closed")
            return
        owner = "" if message["method"] == "initialize" else await self._handshakes.elsewhere(session)
        lines = self._passed_on.run(owner, session.id, asked) if owner else self._handshakes.run(session, message)
        async with aclosing(lines):
            async for line in lines:
                yield line
