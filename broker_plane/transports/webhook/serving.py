"""Serves a server by webhooks: one process of a front, and its HTTP server."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from broker_plane.bridge.audience import load_audiences
from broker_plane.broker.connection import Connection
from broker_plane.config import Settings
from broker_plane.errors import ConfigError
from broker_plane.exchange.keys import is_server_name
from broker_plane.proxy.endpoint import LOOPBACK
from broker_plane.transports.describing import ServerFacts
from broker_plane.transports.hosting import ServerHost
from broker_plane.transports.nats.connecting import carrier_connection
from broker_plane.transports.webhook.admission import LOOPBACK_GUARD, PUBLIC_GUARD, FrontAdmission
from broker_plane.transports.webhook.front import PATH
from broker_plane.transports.webhook.front_process import FrontOptions, FrontProcess
from broker_plane.transports.webhook.sending_rules import SendingRules
from broker_plane.web.server import HttpServer

_MOST_DEADLINE_SECONDS = 82_800.0
"""Messages are stored for an hour longer, so that their clients can fetch those that became dead letters."""

_NOT_A_NAME = re.compile(r"[^A-Za-z0-9_-]+")


@asynccontextmanager
async def serving_front(
    host: ServerHost,
    facts: ServerFacts,
    server: str,
    settings: Settings,
    address: str,
    port: int,
    *,
    drain_seconds: float,
) -> AsyncIterator[str]:
    """As `webhook_front`, over a connection of its own; `server` is by default the name that the server has.

    Raises:
        ConfigError, PortInUseError, BrokerUnavailableError: it cannot be served.
    """
    name = server or _NOT_A_NAME.sub("-", facts.name)[:64] or "server"
    if not is_server_name(name):
        raise ConfigError(f"{name!r} is not the name of a server: use 1 to 64 characters of A-Z, a-z, 0-9, _ and -")
    rules = SendingRules(deadline_seconds=min(_MOST_DEADLINE_SECONDS, settings.callback_deadline_seconds))
    options = FrontOptions(rules=rules, drain_seconds=drain_seconds)
    async with (
        carrier_connection(settings) as connection,
        webhook_front(connection, host, name, settings, address, port, options=options) as url,
    ):
        yield f"webhook:{url}"


@asynccontextmanager
async def webhook_front(
    connection: Connection,
    host: ServerHost,
    server: str,
    settings: Settings,
    address: str = "127.0.0.1",
    port: int = 0,
    *,
    options: FrontOptions | None = None,
) -> AsyncIterator[str]:
    """Serve a server by webhooks for the time of the block; yields the URL for clients.

    Raises:
        PortInUseError, ConfigError: the address cannot be served, or a setting is wrong.
    """
    guard = LOOPBACK_GUARD if address in LOOPBACK else PUBLIC_GUARD
    admission = FrontAdmission(guard=guard, audiences=load_audiences(settings.audiences))
    process = FrontProcess(connection, host, server, settings, options or FrontOptions())
    http = HttpServer(process.application(admission), address, port, stop_seconds=1)
    async with process.running(), http as running:
        yield f"{running.url}{PATH}"
