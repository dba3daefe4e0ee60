"""The commands for MCP clients: the proxy, the plane's own tools, and the client's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from broker_plane.cli.client_config import CLIENTS, Change, entry_for, install_into
from broker_plane.cli.console import Json, LogLevel, err, failing, out, run, say_json
from broker_plane.errors import ConfigError

"""Whatever follows the first word of the upstream is the upstream's."""


def proxy(
    upstream: Annotated[list[str], typer.Argument(help="After --: the command of an MCP server, or its URL.")],
    threshold: Annotated[str, typer.Option(help="Bytes of a result above which it goes to the plane.")] = "64KiB",
    consumer: Annotated[
        list[str] | None, typer.Option(help="TOOL:ARGUMENT that may be given as a resource_url; repeat it.")
    ] = None,
    table: Annotated[
        list[str] | None, typer.Option(help="A tool that returns a table and does not say so; repeat it.")
    ] = None,
    http: Annotated[int | None, typer.Option(help="Serve on this port (0: any).", min=0)] = None,
    host: Annotated[str, typer.Option(help="Address for --http.")] = "127.0.0.1",
    header_env: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VARIABLE: a header for the upstream URL, its value in the environment; repeat it."),
    ] = None,
    log_level: Annotated[str | None, LogLevel] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """Stand before an MCP server: large results go to the plane, everything else passes.

    broker-plane proxy -- uvx some-server --flag      broker-plane proxy --http 8001 -- http://127.0.0.1:8000/mcp
    """

    async def work() -> int:
        from broker_plane.proxy.run import parse_size, run_proxy  # the other commands need no MCP SDK

        def ready(url: str) -> None:
            if json:
                say_json({"url": url})
            else:
                out.print(f"MCP at {url}")

        return await run_proxy(
            upstream,
            threshold=parse_size(threshold),
            consumers=consumer or (),
            tables=table or (),
            http=None if http is None else (host, http),
            header_env=header_env or (),
            ready=ready,
        )

    run(work, log_level=log_level)


def mcp(
    http: Annotated[int | None, typer.Option(help="Serve on this port instead of standard input.", min=1)] = None,
    log_level: Annotated[str | None, LogLevel] = None,
) -> None:
    """The plane's own MCP tools: publish, preview, narrow, grant, revoke, list bodies, watch a feed."""
    from broker_plane.mcp_server.plane_tools import plane_server

    with failing(log_level):
        server = plane_server()
        if http is None:
            server.run()
        else:
            server.run("streamable-http", host="127.0.0.1", port=http)


def install(
    client: Annotated[str, typer.Argument(help="claude-desktop or claude-code.")],
    upstream: Annotated[
        list[str] | None, typer.Argument(help="After --: a server's command or URL, to be proxied.")
    ] = None,
    name: Annotated[str, typer.Option(help="Of the server in the client.")] = "broker-plane",
    wrap: Annotated[str, typer.Option(help="A server that the client has already: it goes behind the proxy.")] = "",
    config: Annotated[Path | None, typer.Option(help="The client's file; default: where the client looks.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be written.")] = False,
    json: Annotated[bool, Json] = False,
) -> None:
    """Write the plane into an MCP client's configuration; the rest of the file stays, and a copy of it (.bak).

    Without a server: the plane's own tools (broker-plane mcp).
    """

    async def work() -> None:
        if client not in CLIENTS:
            raise ConfigError(f"There is no client {client!r}; there are: {', '.join(CLIENTS)}")
        if wrap and upstream:
            raise ConfigError("Name a server to wrap, or give one after --, not both")
        path = config or CLIENTS[client]()
        change = install_into(path, wrap or name, None if wrap else entry_for(upstream or []), dry_run=dry_run)
        _say(change, dry_run, json)

    run(work)


def _say(change: Change, dry_run: bool, json: bool) -> None:
    if json:
        say_json({"file": str(change.path), "server": change.name, "entry": change.entry, "written": not dry_run})
        return
    if dry_run:
        out.print(change.text)
        err.print(f"would be written to {change.path}")
    else:
        out.print(f"{change.name} is in {change.path}; restart the client.")
