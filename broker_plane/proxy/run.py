"""Runs `broker-plane proxy`: chooses the transports of both sides, and shares one plane."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager

import anyio

from broker_plane.config import Settings, load_settings
from broker_plane.errors import ConfigError
from broker_plane.proxy.command import opener
from broker_plane.proxy.header_names import parse_header
from broker_plane.proxy.options import ProxyOptions
from broker_plane.proxy.rules import ProxyRules
from broker_plane.proxy.stdio import serve_upstream, serve_url
from broker_plane.proxy.upstream import Open
from broker_plane.tools.plane_holder import PlaneHolder
from broker_plane.tools.sdk_version import need_sdk_2


def is_url(upstream: Sequence[str]) -> bool:
    return len(upstream) == 1 and upstream[0].startswith(("http://", "https://"))


@asynccontextmanager
async def connected_rules(options: ProxyOptions, settings: Settings) -> AsyncIterator[ProxyRules]:
    """Rules whose plane is connected at the first large result.

    Raises:
        ConfigError: an option is wrong.
    """
    holder = PlaneHolder(settings)
    rules = options.rules(holder.plane, settings)
    try:
        yield rules
    finally:
        await holder.close()


async def run_proxy(
    upstream: Sequence[str],
    options: ProxyOptions,
    *,
    http: tuple[str, int] | None = None,
    header_env: Iterable[str] = (),
    opened: Open | None = None,
    ready: Callable[[str], None] = lambda url: None,
) -> int:
    """Relay until one side ends, and return the exit code. `header_env` is as for `credentials_of`.

    `opened` opens an upstream that is neither a command nor a URL.

    Raises:
        ConfigError: an option is wrong.
        UpstreamError: the upstream cannot be started.
    """
    credentials = credentials_of(header_env, os.environ)
    if credentials and not is_url(upstream):
        raise ConfigError("--header-env is for the URL of a server; a command reads its environment itself")
    with ended_by_signals() as ended:
        if opened is None and not is_url(upstream):
            opened = opener(upstream)
        return await _relayed(upstream, opened, options, http, credentials, ready)
    return ended[0]


async def _relayed(
    upstream: Sequence[str],
    opened: Open | None,
    options: ProxyOptions,
    http: tuple[str, int] | None,
    credentials: Mapping[str, str],
    ready: Callable[[str], None],
) -> int:
    settings = load_settings()
    most = settings.max_proxy_message_bytes
    async with connected_rules(options, settings) as rules:
        if http is None and opened is not None:
            return await serve_upstream(rules, opened, line_bytes=most)
        if http is None:
            from broker_plane.proxy.upstream_http import check_url

            check_url(upstream[0], credentials)
            return await serve_url(rules, upstream[0], credentials, line_bytes=most)
        async with _served(rules, upstream, opened, *http, credentials, most) as url:
            ready(url)
            await anyio.sleep_forever()
    return 0


@contextmanager
def ended_by_signals() -> Iterator[list[int]]:
    """SIGTERM and SIGHUP cancel the block, so that everything it started ends too; yields the exit code."""
    loop, task, code = asyncio.get_running_loop(), asyncio.current_task(), [0]
    assert task is not None  # noqa: S101  # for the type checker: a coroutine runs in one

    def end(number: int) -> None:
        code[0] = 128 + number
        task.cancel()

    # nohup ignores SIGHUP, which is kept.
    handled = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_DFL]
    for number in handled:
        loop.add_signal_handler(number, end, number)
    try:
        yield code
    except asyncio.CancelledError:
        if not code[0]:
            raise
        while task.uncancel():
            pass
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


def _served(
    rules: ProxyRules,
    upstream: Sequence[str],
    opened: Open | None,
    host: str,
    port: int,
    credentials: Mapping[str, str],
    line_bytes: int,
) -> AbstractAsyncContextManager[str]:
    if opened is None:
        from broker_plane.proxy.url_app import url_proxy

        return url_proxy(rules, upstream[0], host, port, credentials, line_bytes)
    need_sdk_2("broker-plane proxy --http before a command")
    from broker_plane.proxy.upstream_app import upstream_proxy

    return upstream_proxy(rules, opened, host, port, line_bytes)


def credentials_of(header_env: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Headers given as NAME=VARIABLE: each value is read from an environment variable, to keep it off command lines.

    Raises:
        ConfigError: an entry has another form, or its variable is unset or not a valid header value.
    """
    found = {}
    for given in header_env:
        name, variable = parse_header(given)
        value = environment.get(variable, "")
        if not (value and value.isascii() and value.isprintable()):
            raise ConfigError(f"--header-env {name}: set {variable} to the header's value, e.g. Bearer and a token")
        found[name] = value
    return found
