"""The commands proxy and mcp: the proxy, and the plane's own MCP tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from broker_plane.cli.console import Json, LogLevel, failing, out, run, say_json
from broker_plane.cli.proxy_options import CARRIERS, Consumers, HeaderEnv, ReadingTools, Shapes, Threshold
from broker_plane.cli.serve_mcp import Nats, nats_carrier, serve_words
from broker_plane.errors import ConfigError

if TYPE_CHECKING:
    from broker_plane.proxy.upstream import Open


def proxy(
    upstream: Annotated[
        list[str], typer.Argument(help="After --: command of an MCP server, its URL, nats:NAME, or webhook:URL.")
    ],
    threshold: Threshold = "",
    consumer: Consumers = None,
    shape: Shapes = None,
    reading_tools: ReadingTools = True,
    http: Annotated[
        int | None, typer.Option(help="Serve HTTP on this port instead of standard input (0: a free one).", min=0)
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on, with --http.")] = "127.0.0.1",
    nats: Nats = "",
    header_env: HeaderEnv = None,
    log_level: Annotated[str | None, LogLevel] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """Run a proxy in front of any MCP server: it publishes large results and passes on everything else.

    \b
    Examples:
      broker-plane proxy -- uvx some-server --flag
      broker-plane proxy --http 8001 -- http://127.0.0.1:8000/mcp
      broker-plane proxy -- nats:weather
      broker-plane proxy -- webhook:https://tools.example/mcp
      broker-plane proxy --nats weather -- http://127.0.0.1:8000/mcp
    """

    async def work() -> int:
        from broker_plane.proxy.options import ProxyOptions
        from broker_plane.proxy.run import is_url, run_proxy  # the other commands need no MCP SDK

        def ready(url: str) -> None:
            if json:
                say_json({"url": url})
            else:
                out.print(f"MCP at {url}")

        options = ProxyOptions(threshold, consumer or (), shape or (), reading_tools)
        if nats:
            if http is not None:
                raise ConfigError("Use either --http or --nats; run two proxies for both")
            behind = len(upstream) == 1 and upstream[0].startswith(CARRIERS)
            words = upstream if behind or is_url(upstream) else ["--", *upstream]
            return await serve_words(words, [nats_carrier(nats)], options, header_env or (), json=json)
        return await run_proxy(
            upstream,
            options,
            http=None if http is None else (host, http),
            header_env=header_env or (),
            opened=_behind_a_carrier(upstream),
            ready=ready,
        )

    run(work, log_level=log_level)


def _behind_a_carrier(upstream: list[str]) -> Open | None:
    """Opens a server behind a carrier, such as nats:NAME or webhook:URL; None if the words are a command or a URL."""
    if len(upstream) != 1 or not upstream[0].startswith(CARRIERS):
        return None
    from broker_plane.transports.opening import open_upstream

    return open_upstream(upstream)


def mcp(
    http: Annotated[int | None, typer.Option(help="Serve HTTP on this port instead of standard input.", min=1)] = None,
    publish_protocols: Annotated[
        bool, typer.Option("--publish-protocols", help="Let models publish and yank protocol descriptions.")
    ] = False,
    log_level: Annotated[str | None, LogLevel] = None,
) -> None:
    """Run an MCP server with the plane's own tools: bodies, grants, feeds, sessions, protocols (docs/proxy.md).

    Example: broker-plane mcp --http 8002
    """
    from broker_plane.mcp_server.plane_tools import plane_server

    with failing(log_level):
        server = plane_server(publish_protocols=publish_protocols)
        if http is None:
            server.run()
        else:
            server.run("streamable-http", host="127.0.0.1", port=http)
