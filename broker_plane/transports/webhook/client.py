"""A client of servers behind webhook fronts: a transport for the SDK's `Client`, and an upstream of the proxy."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from mcp.client import Transport

from broker_plane.client.trust import Trust, parse_hosts
from broker_plane.config import load_settings
from broker_plane.errors import BrokerPlaneError, ConfigError
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.proxy.endpoint import LOOPBACK
from broker_plane.proxy.lines import DEFAULT_LINE_BYTES
from broker_plane.proxy.upstream import Open
from broker_plane.proxy.upstream_http import client_for
from broker_plane.transports.sdk_streams import client_streams
from broker_plane.transports.webhook.addresses import parse_address
from broker_plane.transports.webhook.channel import CallbackChannel
from broker_plane.transports.webhook.front_requests import TIMEOUT, FrontRequests, check_front
from broker_plane.transports.webhook.front_upstream import FrontUpstream
from broker_plane.transports.webhook.receiver import WebhookReceiver
from broker_plane.transports.webhook.saved_session import SavedSession, held, load_saved, new_saved
from broker_plane.web.server import HttpServer

PATIENCE_SECONDS = 60.0
"""How long a message is sent again while the front is unavailable."""

LISTEN = "127.0.0.1:0"
_CLOSE_SECONDS = 2.0


def webhook_client(
    url: str,
    *,
    callback: str = "",
    listen: str = LISTEN,
    receiver: WebhookReceiver | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
    state: str | Path | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Transport:
    """A transport for `mcp.Client(…)` to the server behind the webhook front at `url`.

    Args:
        url: the front, such as `https://tools.example/mcp`.
        callback: the URL under which the front reaches this process, or where `receiver` is mounted.
        listen: the address (`host:port`) of a server for messages, unless there is a receiver; port 0 is a free one.
        receiver: takes the messages, mounted in an application of yours.
        headers: sent with every request to the front, such as `{"authorization": "Bearer …"}`.
        state: a file that keeps the session. Then it is not closed at the end, and a later process goes on with it.
            One client at a time has it; `<state>.lock` beside it says so.
        patience_seconds: how long a message is sent again while the front is unavailable.

    Raises:
        ConfigError: an argument is wrong.
    """
    kept = Path(state) if state is not None else None
    options = WebhookOptions(callback, listen, receiver, headers, kept, patience_seconds)
    return client_streams(webhook_upstream(url, options))


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """The arguments of `webhook_client`, and the largest message that is taken."""

    callback: str = ""
    listen: str = LISTEN
    receiver: WebhookReceiver | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    state: Path | None = None
    patience_seconds: float = PATIENCE_SECONDS
    line_bytes: int = DEFAULT_LINE_BYTES


def webhook_upstream(url: str, options: WebhookOptions) -> Open:
    """The server behind the front at `url` as an upstream.

    Raises:
        ConfigError: the URL or an option is wrong.
    """
    check_front(url, options.headers)
    if urlsplit(url).hostname not in LOOPBACK and urlsplit(url).scheme == "http":
        raise ConfigError("A webhook front needs an https URL: over http others could read the secret of the callback")
    if options.receiver is not None and not options.callback:
        raise ConfigError("A receiver of yours needs callback=, the URL at which it is mounted")
    parse_address(options.listen)
    return partial(_opened, url, options)


def upstream_of_settings(url: str) -> Open:
    """As `webhook_upstream`, with the options of the settings.

    Raises:
        ConfigError: the URL or a setting is wrong.
    """
    settings = load_settings()
    token = settings.token.get_secret_value()
    trust = Trust(token_hosts=parse_hosts(settings.token_hosts, "BROKER_PLANE_TOKEN_HOSTS"))
    headers = {"authorization": f"Bearer {token}"} if token and trust.takes_token(url) else {}
    options = WebhookOptions(
        callback=settings.callback_url,
        listen=settings.callback_address,
        headers=headers,
        line_bytes=settings.max_proxy_message_bytes,
    )
    return webhook_upstream(url, options)


@asynccontextmanager
async def _opened(url: str, options: WebhookOptions) -> AsyncIterator[FrontUpstream]:
    receiver, callback = options.receiver, options.callback
    async with AsyncExitStack() as stack:
        stack.enter_context(held(options.state))
        saved = load_saved(options.state, url) or new_saved(url, secrets.token_bytes)
        if receiver is None:
            receiver = WebhookReceiver(max_message_bytes=options.line_bytes)
            server = await stack.enter_async_context(HttpServer(receiver, *parse_address(options.listen)))
            callback = callback or server.url
        channel = CallbackChannel([saved.secret], options.line_bytes, session=saved.session)
        receiver.add(saved.channel, channel)
        http = await stack.enter_async_context(client_for(url, TIMEOUT))
        front = FrontRequests(http, url, options.headers, patience_seconds=options.patience_seconds)
        keep = partial(_keep, saved, options.state)
        upstream = FrontUpstream(front, channel, f"{callback.rstrip('/')}/{saved.channel}", keep)
        fetching = asyncio.create_task(upstream.fetch_when_silent())
        try:
            yield upstream
        finally:
            await cancel_and_forget(fetching)
            await upstream.close()
            await _leave(url, options, channel, receiver, saved)


async def _leave(
    url: str, options: WebhookOptions, channel: CallbackChannel, receiver: WebhookReceiver, saved: SavedSession
) -> None:
    """Close the session, unless a later process goes on with it."""
    if options.state is not None:
        receiver.remove(saved.channel)
        return
    receiver.end(saved.channel)
    if channel.session:
        async with client_for(url, TIMEOUT) as http:
            front = FrontRequests(http, url, options.headers, patience_seconds=0.0)
            with suppress(BrokerPlaneError, TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await front.close(channel.session)


def _keep(saved: SavedSession, state: Path | None, session: str) -> None:
    if state is not None:
        saved.with_session(session).save(state)
