"""What one process has for the sessions of a server: it carries out requests, sends messages, and answers over HTTP."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from broker_plane.broker.connection import Connection
from broker_plane.broker.messages import Message as NatsMessage
from broker_plane.client.addresses import parse_networks
from broker_plane.client.guard import loopback_guard, webhook_guard
from broker_plane.client.post import WebhookPost
from broker_plane.client.trust import Trust, parse_hosts
from broker_plane.config import Settings
from broker_plane.plane.exchanges.ports import Asked, Said
from broker_plane.plane.exchanges.worker import ExchangeWorker
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.proxy.endpoint import MAX_REQUEST_BYTES
from broker_plane.storage.buckets import NatsBucket
from broker_plane.storage.exchanges import NatsExchanges
from broker_plane.storage.keys import NatsKeys
from broker_plane.storage.layout import ensure_state
from broker_plane.storage.outbox import NatsOutbox, NatsWakeups
from broker_plane.transports.hosting import ServerHost
from broker_plane.transports.webhook.admission import FrontAdmission
from broker_plane.transports.webhook.asyncmcp_route import AsyncmcpRoute
from broker_plane.transports.webhook.call_deliveries import CallDeliveries
from broker_plane.transports.webhook.callbacks import Callbacks
from broker_plane.transports.webhook.deliveries import CallbackDeliveries, DeliveredTo
from broker_plane.transports.webhook.front import WebhookFront
from broker_plane.transports.webhook.front_events import FrontEvents
from broker_plane.transports.webhook.front_hosting import FrontHosting
from broker_plane.transports.webhook.front_work import FrontWork
from broker_plane.transports.webhook.handshakes import HandshakeSessions
from broker_plane.transports.webhook.instances import CARRIER, FrontInstances
from broker_plane.transports.webhook.outstanding import OutstandingRequests
from broker_plane.transports.webhook.passing import PassedOn
from broker_plane.transports.webhook.positions import Positions
from broker_plane.transports.webhook.sealing import CredentialSealer
from broker_plane.transports.webhook.sender import CallbackSender
from broker_plane.transports.webhook.sending_rules import SendingRules
from broker_plane.transports.webhook.session_end import SessionEnd
from broker_plane.transports.webhook.sessions import WebhookSessions

POST_SECONDS = 8.0
"""The time of a callback to answer. Shorter than the lease of the message that is sent."""

AT_ONCE = 2_048
KEPT_CONNECTIONS, KEPT_SECONDS = 16, 5.0
"""To callbacks without TLS, after a message. A session that waits has none."""

_HEADER_BYTES = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontOptions:
    """How a process serves its sessions. `drain_seconds` is how long it finishes its work when it ends."""

    rules: SendingRules = field(default_factory=SendingRules)
    drain_seconds: float = 0.0


class FrontProcess:
    """One process of a front."""

    def __init__(
        self, connection: Connection, host: ServerHost, server: str, settings: Settings, options: FrontOptions
    ) -> None:
        self._connection = connection
        self._server = server
        self._seconds = int(settings.mcp_session_days * 86_400)
        self._bucket = NatsBucket(connection, connection.names.mcp_sessions_bucket)
        self._instances = FrontInstances(connection, server)
        self._exchanges, self._outbox = NatsExchanges(connection), NatsOutbox(connection)
        self._outstanding = OutstandingRequests(self._exchanges, self._outbox, self._instances.answered)
        guard = webhook_guard(parse_networks(settings.webhook_networks))
        self._post = WebhookPost(
            guard, seconds=POST_SECONDS, kept_connections=KEPT_CONNECTIONS, kept_seconds=KEPT_SECONDS
        )
        self._callbacks = Callbacks(guard, self._post, now=self._now, random_bytes=secrets.token_bytes)
        loopback = loopback_guard("The callback of a client of asyncmcp")
        self._loopback: Callbacks | None = None
        if settings.asyncmcp_clients:
            self._loopback = Callbacks(loopback, self._post, now=self._now, random_bytes=secrets.token_bytes)
        self._sessions = WebhookSessions(
            self._bucket,
            server,
            self._callbacks,
            seconds=self._seconds,
            now=self._now,
            random_bytes=secrets.token_bytes,
        )
        listed = Trust(token_hosts=parse_hosts(settings.webhook_hosts, "BROKER_PLANE_WEBHOOK_HOSTS"))
        sealer = CredentialSealer(NatsKeys(connection, settings.owner), secrets.token_bytes)
        self._calls = CallDeliveries(self._bucket, server, self._callbacks, sealer, listed.takes_token)
        self._handshakes = HandshakeSessions(
            host, server, self._instances.own, self._sessions, self._exchanges, self._instances.is_alive
        )
        self._passed_on = PassedOn(connection, self._instances, self._sessions, self._handshakes)
        self._hosting = FrontHosting(host, self._instances, self._sessions, self._handshakes, self._passed_on)
        self._end = SessionEnd(server, self._sessions, self._outbox, self._outstanding, self._hosting)
        self._worker = self._make_worker(options.drain_seconds, host)
        self._sender = self._make_sender(options.rules)
        self._passed_on.woken = self._sender.wake
        self._events = FrontEvents(server, self._sessions, self._outbox, self._changes)

    def application(self, admission: FrontAdmission) -> WebhookFront:
        """The ASGI application of this process."""
        work = FrontWork(
            self._server,
            self._sessions,
            self._exchanges,
            self._outbox,
            self._hosting,
            self._sender.wake,
            self._outstanding,
            self._calls,
            self._end,
            now=self._now,
        )
        asyncmcp = AsyncmcpRoute(work, self._sessions, self._loopback) if self._loopback else None
        max_bytes = min(MAX_REQUEST_BYTES, self._connection.max_payload - _HEADER_BYTES)
        return WebhookFront(work, self._events, admission, max_bytes=max_bytes, asyncmcp=asyncmcp)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Carry out requests and send messages for the time of the block."""
        await ensure_state(self._connection)
        await self._instances.start(self._worker.cancel, self._outstanding.answered_elsewhere, self._passed_on.take)
        work = (self._worker.run(), self._sender.run(), self._handshakes.mind(), self._outstanding.forget())
        tasks = [asyncio.create_task(each) for each in work]
        try:
            yield
        finally:
            self._events.close()
            for task in tasks:
                await cancel_and_forget(task)
            await self._instances.close()
            await self._passed_on.close()
            await self._handshakes.close()
            await self._post.close()

    def _now(self) -> float:
        return self._connection.clock.now()

    def _make_worker(self, drain_seconds: float, host: ServerHost) -> ExchangeWorker:
        return ExchangeWorker(
            self._exchanges,
            self._server,
            CARRIER,
            self._hosting.run,
            _NoRelay(),
            now=self._now,
            at_once=AT_ONCE,
            drain_seconds=drain_seconds,
            interrupted=host.interrupt,
        )

    def _make_sender(self, rules: SendingRules) -> CallbackSender[DeliveredTo]:
        positions = Positions(
            self._bucket,
            self._server,
            self._instances.own,
            self._instances.is_alive,
            self._passed_on.wake,
            seconds=self._seconds,
            now=self._now,
        )
        return CallbackSender(
            NatsWakeups(self._connection, self._exchanges, self._server, CARRIER),
            self._outbox,
            positions,
            CallbackDeliveries(
                self._sessions, self._callbacks, self._outstanding, self._end.close, self._calls, self._loopback
            ),
            self._server,
            rules=rules,
            now=self._now,
            random=random.random,
        )

    @asynccontextmanager
    async def _changes(self, session: str) -> AsyncIterator[asyncio.Event]:
        changed = asyncio.Event()

        async def arrived(_: NatsMessage) -> None:
            changed.set()

        subject = self._connection.names.exchange_subject(self._server, session, "*")
        served = await self._connection.serve(subject, arrived, queue="")
        try:
            yield changed
        finally:
            await self._connection.stop_serving([served])


class _NoRelay:
    """The Relay port: the sender sees every stored message, so there is no quicker way."""

    async def said(self, asked: Asked, said: Said) -> None:
        """As `Relay.said`."""

    async def alive(self, asked: Asked) -> None:
        """As `Relay.alive`."""
