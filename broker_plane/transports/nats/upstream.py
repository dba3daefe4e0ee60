"""A server behind NATS as an upstream: lines go in, and its messages come out, in both eras."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio

from broker_plane.config import Settings, load_settings
from broker_plane.errors import BrokerPlaneError, UpstreamError
from broker_plane.proxy.messages import (
    Message,
    failed_line,
    is_key,
    is_self_contained,
    key_asked,
    params_of,
    parse,
    wrong_with,
)
from broker_plane.proxy.upstream import Open, Upstream
from broker_plane.transports.nats.arrived_lines import ArrivedLines
from broker_plane.transports.nats.client_link import ClientLink, LinkHolder
from broker_plane.transports.nats.durable_client import DurableClient
from broker_plane.transports.nats.exchange_client import ExchangeClient
from broker_plane.transports.nats.session_client import SessionClient
from broker_plane.transports.nats.wire_form import DURABLE_METHODS, SESSION_LETTER, new_id, parse_server_name
from broker_plane.wire import json_rpc

WAIT_SECONDS = 5.0
_CHECK_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsOptions:
    """`durable`: tool calls (2026-07-28) are stored, and outlive the processes that carry them out. `wait_seconds` is
    how long other requests wait for an instance of the server. `deadline_seconds` is how long a durable call may take;
    0 is the default of the servers, one hour."""

    durable: bool = True
    wait_seconds: float = WAIT_SECONDS
    deadline_seconds: float = 0.0


def nats_upstream(server: str, settings: Settings | None = None, options: NatsOptions | None = None) -> Open:
    """Connects to the server of this name. All upstreams that it opens share one connection to NATS.

    Raises:
        ConfigError: this cannot be the name of a server.
    """
    settings = settings or load_settings()
    holder = LinkHolder(settings)
    return partial(_opened, holder, parse_server_name(server), options or NatsOptions(), settings)


@asynccontextmanager
async def _opened(holder: LinkHolder, server: str, options: NatsOptions, settings: Settings) -> AsyncIterator[Upstream]:
    async with AsyncExitStack() as stack:
        try:
            link = await holder.take()
        except BrokerPlaneError as error:
            raise UpstreamError(str(error), reason=error.reason) from error
        stack.push_async_callback(_shielded, holder.give_back)
        upstream = _NatsUpstream(link, server, options, settings.max_proxy_message_bytes)
        stack.push_async_callback(_shielded, upstream.close)
        yield upstream


async def _shielded(close: Callable[[], Awaitable[None]]) -> None:
    """Close completely, even if the client is being cancelled."""
    with anyio.CancelScope(shield=True):
        await close()


class _NatsUpstream:
    """One client of one server."""

    def __init__(self, link: ClientLink, server: str, options: NatsOptions, most_bytes: int) -> None:
        self.code = 0
        self._link = link
        self._session = SESSION_LETTER + new_id()
        self._lines = ArrivedLines(most_bytes)
        self._exchanges = ExchangeClient(
            link,
            server,
            self._session,
            self._lines.put,
            wait_seconds=options.wait_seconds,
            most_bytes=most_bytes,
        )
        self._sessions = SessionClient(
            link,
            server,
            self._session,
            self._lines.put,
            wait_seconds=options.wait_seconds,
            most_bytes=most_bytes,
            nobody=self._exchanges.nobody,
        )
        self._durable = DurableClient(
            link,
            server,
            self._session,
            self._lines.put,
            scope=link.scope,
            wait_seconds=options.wait_seconds,
            deadline_seconds=options.deadline_seconds,
            most_bytes=most_bytes,
            nobody=self._exchanges.nobody,
        )
        self._stored_methods = DURABLE_METHODS if options.durable else frozenset[str]()
        self._closing = False
        link.hear(self._session, self)
        self._checking = asyncio.create_task(self._check())

    async def close(self) -> None:
        self._checking.cancel()
        await self._exchanges.close()
        await self._durable.close()
        await self._sessions.close()
        self._link.forget(self._session)

    # As an upstream.

    async def write(self, line: bytes) -> None:
        message = parse(line)
        wrong = "it is not valid JSON" if message is None else wrong_with(message)
        if message is None or wrong:
            self._refuse(key_asked(line), f"This is not an MCP message: {wrong}")
        elif "method" in message and "id" in message and not is_key(message["id"]):
            self._refuse(None, "The id of a request is a text or a number")
        elif "method" in message and "id" in message and is_self_contained(message):
            carrier = self._durable if message["method"] in self._stored_methods else self._exchanges
            await carrier.send(line.rstrip(b"\n"), message)
        elif not await self._is_cancelled(message):
            await self._sessions.send(line.rstrip(b"\n"), message)

    def close_input(self) -> None:
        self._closing = True
        self._lines.wake()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The lines, until the client has closed its side and nothing waits any more."""
        while not (self._closing and not self._waits and self._lines.is_empty):
            yield await self._lines.get()

    @property
    def _waits(self) -> bool:
        return self._exchanges.waits or self._durable.waits or self._sessions.waits

    # What arrives.

    def heard(self, exchange: str, message: Any) -> None:
        if not self._durable.heard(exchange, message) and not self._sessions.heard(exchange, message):
            self._exchanges.heard(exchange, message)

    def broke(self) -> None:
        self._exchanges.broke()
        self._durable.broke()
        self._sessions.broke()

    def refused(self, subject: str) -> None:
        self._exchanges.refused(subject)
        self._sessions.refused(subject)

    async def _is_cancelled(self, message: Message) -> bool:
        """Whether a message cancels a self-contained request."""
        if message.get("method") != "notifications/cancelled":
            return False
        key = params_of(message).get("requestId")
        return is_key(key) and (await self._exchanges.cancel(key) or await self._durable.cancel(key))

    def _refuse(self, key: Any, said: str) -> None:
        self._lines.put(failed_line(key, said, json_rpc.INVALID_REQUEST))

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            self._exchanges.check()
            await self._durable.check()
            self._sessions.check()
