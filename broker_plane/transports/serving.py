"""Runs `broker-plane serve`: one server behind any number of carriers, until a signal."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass

import anyio

from broker_plane.config import Settings, load_settings
from broker_plane.errors import ConfigError, NotPermittedError
from broker_plane.proxy.options import ProxyOptions
from broker_plane.proxy.run import credentials_of, ended_by_signals
from broker_plane.runtime.collecting import keep_what_was_started
from broker_plane.transports.describing import ServerFacts, describe
from broker_plane.transports.hosting import ServerHost, server_host
from broker_plane.transports.opening import open_upstream


@dataclass(frozen=True, slots=True)
class Hosted:
    """What a carrier serves."""

    host: ServerHost
    facts: ServerFacts
    settings: Settings


Front = Callable[[Hosted], AbstractAsyncContextManager[str]]
"""Serves a host over one carrier for the time of the block; yields where clients find it."""


async def serve_server(
    words: Sequence[str],
    fronts: Sequence[Front],
    options: ProxyOptions,
    *,
    header_env: Iterable[str] = (),
    ready: Callable[[ServerFacts, list[str]], None] = lambda facts, places: None,
) -> int:
    """Serve the server that `words` name (as `open_upstream`) until a signal ends this process; returns the exit code.

    Each front finishes its work first.

    Raises:
        ConfigError: an option is wrong. NotPermittedError: the role is not `plane`. UpstreamError: the server cannot be
            opened, or does not answer.
    """
    if not fronts:
        raise ConfigError("Name at least one carrier: --nats NAME")
    settings = load_settings()
    if settings.role != "plane":
        raise NotPermittedError(
            f"BROKER_PLANE_ROLE={settings.role} may not serve an MCP server; run this where the role is plane"
        )
    opened = open_upstream(words, credentials_of(header_env, os.environ), settings.max_proxy_message_bytes)
    with ended_by_signals() as ended:
        async with server_host(opened, options, settings) as host, AsyncExitStack() as stack:
            hosted = Hosted(host, await describe(host), settings)
            places = [await stack.enter_async_context(front(hosted)) for front in fronts]
            keep_what_was_started()
            ready(hosted.facts, places)
            await anyio.sleep_forever()
    return ended[0]
