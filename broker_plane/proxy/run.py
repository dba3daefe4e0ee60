"""What `broker-plane proxy` runs: which side speaks what, and one plane for all that passes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

import anyio

from broker_plane.config import Settings, load_settings
from broker_plane.errors import ConfigError
from broker_plane.mcp_server.hold import PlaneHold
from broker_plane.proxy.listing import parse_consumer
from broker_plane.proxy.relay import Relay
from broker_plane.proxy.stdio import serve_command

DEFAULT_THRESHOLD = 64 * 1024
_UNITS = {"b": 1, "kb": 1000, "kib": 1024, "mb": 1000**2, "mib": 1024**2}


def parse_size(text: str) -> int:
    """Bytes of `64KiB`, `1MB`, `500`.

    Raises:
        ConfigError: it is no size.
    """
    number = text.strip().lower().rstrip("bikm ")
    unit = text.strip().lower()[len(number) :].strip()
    if not number.isdigit() or (unit and unit not in _UNITS):
        raise ConfigError(f"--threshold is a size such as 64KiB, 1MB or 500; {text!r} is not")
    return int(number) * _UNITS.get(unit, 1)


def is_url(upstream: Sequence[str]) -> bool:
    return len(upstream) == 1 and upstream[0].startswith(("http://", "https://"))


@asynccontextmanager
async def relaying(
    threshold: int, consumers: Iterable[str], tables: Iterable[str], settings: Settings | None = None
) -> AsyncIterator[Relay]:
    """A relay whose plane is connected at the first large result. `tables` are tools that are known to give tables."""
    hold = PlaneHold(settings or load_settings())
    relay = Relay(hold.plane, threshold, {item.tool: item for item in map(parse_consumer, consumers)})
    relay.tools.tables.update(tables)
    try:
        yield relay
    finally:
        await hold.close()


async def run_proxy(
    upstream: Sequence[str],
    *,
    threshold: int = DEFAULT_THRESHOLD,
    consumers: Iterable[str] = (),
    tables: Iterable[str] = (),
    http: tuple[str, int] | None = None,
    ready: Callable[[str], None] = lambda url: None,
) -> int:
    """Relay until a side ends; the exit code.

    Raises:
        ConfigError: this combination of sides is not there, or an option is wrong.
        UpstreamError: the upstream cannot be started.
    """
    async with relaying(threshold, consumers, tables) as relay:
        if http is None and not is_url(upstream):
            return await serve_command(relay, upstream)
        if http is None:
            from broker_plane.proxy.remote import serve_url

            return await serve_url(relay, upstream[0])
        if not is_url(upstream):
            raise ConfigError("--http needs the URL of a server; a command is served on standard input and output")
        from broker_plane.proxy.http import serving

        async with serving(relay, upstream[0], *http) as url:
            ready(url)
            await anyio.sleep_forever()
    return 0
