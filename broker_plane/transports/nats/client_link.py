"""One connection for all clients of a process: what arrives on its inbox goes to the session that it names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Protocol

from broker_plane.broker.connection import Connection
from broker_plane.broker.messages import Message as NatsMessage
from broker_plane.broker.subscriptions import Subscription
from broker_plane.config import Settings
from broker_plane.errors import NotPermittedError, StorageError
from broker_plane.exchange.headers import REPLY
from broker_plane.transports.nats.connecting import caller_scope, carrier_connection, guest_of
from broker_plane.transports.nats.wire_form import new_id


class Hearer(Protocol):
    """What hears the messages of one session. Its functions are called on the event loop and never wait."""

    def heard(self, exchange: str, message: NatsMessage) -> None:
        """A message about an exchange has arrived."""

    def broke(self) -> None:
        """The connection has broken: messages may be lost."""

    def refused(self, subject: str) -> None:
        """nats-server does not permit this user to publish on `subject` (in lower case)."""


class _Inbox(Subscription):
    """A subscription whose messages are passed on at once, and not queued."""

    def __init__(self, subject: str, heard: Callable[[NatsMessage], None], lost: Callable[[StorageError], None]):
        super().__init__(subject)
        self._heard = heard
        self._lost = lost

    def take(self, message: NatsMessage) -> None:
        self._heard(message)

    def lose(self, error: StorageError) -> None:
        self._lost(error)


class ClientLink:
    """A connection with one inbox, `<inbox>.<session>.<exchange>`, for any number of sessions.

    A guest is in another account than the servers, which can only send to its delivery subjects, `bp.dlv.<user>…`.
    """

    def __init__(self, connection: Connection, scope: bytes, guest: str = "") -> None:
        self.connection = connection
        self.scope = scope
        """As of `caller_scope`."""
        self.deaf: StorageError | None = None
        """Set if this user may not subscribe to its own inbox, so that no answer can arrive."""
        self._inbox = connection.inbox()
        self._deliveries = connection.names.delivery_subject(guest, new_id()) if guest else ""
        self._sessions: dict[str, Hearer] = {}

    async def start(self) -> None:
        for inbox in filter(None, (self._inbox, self._deliveries)):
            await self.connection.keep_subscribed(_Inbox(f"{inbox}.*.*", self._arrived, self._broke))
        self.connection.on_refusal(self._refused)

    def reply_subject(self, session: str, exchange: str) -> str:
        """Where nats-server says that nobody is there."""
        return f"{self._inbox}.{session}.{exchange}"

    def reply_headers(self, session: str, exchange: str, *, always: bool = False) -> dict[str, str]:
        """The headers that say where the messages about an exchange go, if that is not the reply subject."""
        if not (self._deliveries or always):
            return {}
        return {REPLY: f"{self._deliveries or self._inbox}.{session}.{exchange}"}

    def not_permitted(self, server: str) -> NotPermittedError:
        """The error of a request to a server that this user may not use."""
        user = self.connection.link.user
        return NotPermittedError(
            f"NATS at {self.connection.hosts} does not permit {user} to use the MCP server {server} "
            f"({self.connection.names.mcp_subject(server, '>')}); "
            f"broker-plane accounts --user {user} --server {server} prints the permissions for nats.conf"
        )

    def hear(self, session: str, hearer: Hearer) -> None:
        """Pass the messages of a session on to `hearer`."""
        self._sessions[session] = hearer

    def forget(self, session: str) -> None:
        self._sessions.pop(session, None)

    def _arrived(self, message: NatsMessage) -> None:
        *_, session, exchange = message.subject.split(".")
        if hearer := self._sessions.get(session):
            hearer.heard(exchange, message)

    def _broke(self, error: StorageError) -> None:
        if not error.retryable:
            self.deaf = error
        for hearer in list(self._sessions.values()):
            hearer.broke()

    def _refused(self, subject: str, error: StorageError) -> None:
        for hearer in list(self._sessions.values()):
            hearer.refused(subject)


class LinkHolder:
    """Holds one link for all upstreams that are open, and closes it after the last of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = asyncio.Lock()
        self._users = 0
        self._stack = AsyncExitStack()
        self._link: ClientLink | None = None

    async def take(self) -> ClientLink:
        """The link, which is opened for its first user.

        Raises:
            BrokerUnavailableError, ConfigError, EmbeddedError: no broker can be reached or started.
        """
        async with self._lock:
            if self._link is None:
                async with AsyncExitStack() as stack:
                    connection = await stack.enter_async_context(carrier_connection(self._settings))
                    link = ClientLink(connection, caller_scope(connection, self._settings), guest_of(self._settings))
                    await link.start()
                    self._stack = stack.pop_all()
                    self._link = link
            self._users += 1
            return self._link

    async def give_back(self) -> None:
        """Called once by each user; the link is closed after the last one."""
        async with self._lock:
            self._users -= 1
            if not self._users:
                self._link, stack = None, self._stack
                await stack.aclose()
