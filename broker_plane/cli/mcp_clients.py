"""The commands proxy and mcp: the proxy, and the plane's own MCP tools."""

from __future__ import annotations

from typing import Annotated

import typer

from broker_plane.cli.console import Json, LogLevel, failing, out, run, say_json
from broker_plane.cli.proxy_options import Consumers, HeaderEnv, ReadingTools, Shapes, Threshold


def proxy(
    upstream: Annotated[list[str], typer.Argument(help="After --: command of an MCP server, or its URL.")],
    threshold: Threshold = "",
    consumer: Consumers = None,
    shape: Shapes = None,
    reading_tools: ReadingTools = True,
    http: Annotated[
        int | None, typer.Option(help="Serve HTTP on this port instead of standard input (0: a free one).", min=0)
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on, with --http.")] = "127.0.0.1",
    header_env: HeaderEnv = None,
    log_level: Annotated[str | None, LogLevel] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """Run a proxy in front of any MCP server: it publishes large results and passes on everything else.

    \b
    Examples:
      broker-plane proxy -- uvx some-server --flag
      broker-plane proxy --http 8001 -- http://127.0.0.1:8000/mcp
    """

    async def work() -> int:
        from broker_plane.proxy.options import ProxyOptions
        from broker_plane.proxy.run import run_proxy  # the other commands need no MCP SDK

        def ready(url: str) -> None:
            if json:
                say_json({"url": url})
            else:
                out.print(f"MCP at {url}")

        return await run_proxy(
            upstream,
            ProxyOptions(threshold, consumer or (), shape or (), reading_tools),
            http=None if http is None else (host, http),
            header_env=header_env or (),
            ready=ready,
        )

    run(work, log_level=log_level)


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
