"""The processes that serve one server by webhooks: each has a name, at which the others reach it over NATS."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from secrets import token_hex

from broker_plane.broker.connection import Connection
from broker_plane.broker.errors import NO_RESPONDERS
from broker_plane.broker.messages import Message as NatsMessage
from broker_plane.broker.subscriptions import Served
from broker_plane.errors import BrokerUnavailableError
from broker_plane.exchange.messages import ExchangeKey

CARRIER = "w"
_ALIVE = "alive"
_SECONDS = 5.0

Handler = Callable[[NatsMessage], Awaitable[None]]
Cancel = Callable[[ExchangeKey], Awaitable[None]]


class FrontInstances:
    """This process among them."""

    def __init__(self, connection: Connection, server: str) -> None:
        self._connection = connection
        self._server = server
        self._names = connection.names
        self._served: list[Served] = []
        self.own = token_hex(8)
        """The name of this process."""

    async def start(self, cancel: Cancel, answered: Callable[[ExchangeKey], None], passed: Handler) -> None:
        """Hear of cancelled and of answered requests, and of what other processes pass on."""

        async def cancelled(message: NatsMessage) -> None:
            *_, session, exchange = message.subject.split(".")
            if session.startswith(CARRIER):
                await cancel(ExchangeKey(self._server, session, exchange))

        async def answer_accepted(message: NatsMessage) -> None:
            *_, session, exchange = message.subject.split(".")
            answered(ExchangeKey(self._server, session, exchange))

        async def alive(message: NatsMessage) -> None:
            if message.subject.endswith(f".{_ALIVE}"):
                if self._names.is_inbox(message.reply):
                    await self._connection.publish(message.reply, b"")
            else:
                await passed(message)

        serve = self._connection.serve
        self._served = [
            await serve(self._subject("cancel", "*", "*"), cancelled, queue=""),
            await serve(self._subject("answered", "*", "*"), answer_accepted, queue=""),
            await serve(self._subject("at", self.own, "*"), alive, queue=""),
        ]

    async def close(self) -> None:
        """Hear nothing more."""
        await self._connection.stop_serving(self._served)

    async def cancel(self, key: ExchangeKey) -> None:
        """Cancel a request, wherever it runs."""
        await self._connection.publish(self._subject("cancel", key.session, key.exchange), b"")

    async def answered(self, key: ExchangeKey) -> None:
        """Say that the answer to a request, which another process has accepted, waits no longer."""
        await self._connection.publish(self._subject("answered", key.session, key.exchange), b"")

    async def is_alive(self, instance: str) -> bool:
        """Whether a process is connected to NATS.

        Raises:
            BrokerUnavailableError: it is unknown.
        """
        if instance == self.own:
            return True
        try:
            await self._connection.request(self.at(instance, _ALIVE), b"", seconds=_SECONDS)
        except BrokerUnavailableError as error:
            if error.reason == NO_RESPONDERS:
                return False
            raise
        return True

    def at(self, instance: str, session: str) -> str:
        """The subject of a session at a process."""
        return self._subject("at", instance, session)

    def _subject(self, *tokens: str) -> str:
        return self._names.mcp_subject(self._server, *tokens)
