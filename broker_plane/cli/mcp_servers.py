"""The commands servers and exchanges: MCP servers on NATS, and the durable requests to them, for operators."""

from __future__ import annotations

from time import time
from typing import Annotated, Literal

import typer

from broker_plane.cli.console import Json, note, out, run, say_json, when
from broker_plane.runtime.exchanges import StoredExchange
from broker_plane.runtime.mcp_servers import McpServer
from broker_plane.runtime.plane import Plane
from broker_plane.wire.exact_json import dumps

servers = typer.Typer(
    help="List the MCP servers on NATS (docs/mcp-over-nats.md).", no_args_is_help=True, rich_markup_mode=None
)
exchanges = typer.Typer(
    help="List, show and cancel stored requests to MCP servers (docs/exchanges.md).",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Id = Annotated[str, typer.Argument(help="Id printed by `exchanges ls`.")]
_States = Literal["waiting", "claimed", "running", "answered", "expired"]
_COLUMNS = ("id", "server", "tool", "client", "state", "age", "attempts", "process")
_MESSAGE_CHARACTERS = 2_000


@servers.command("ls")
def list_servers(
    name: Annotated[str, typer.Argument(help="Only the server with this name.")] = "",
    json: Annotated[bool, Json] = False,
) -> None:
    """List MCP servers on NATS: version, instances and their processes, requests since their start, and health.

    A server without an instance is listed if calls are stored for it.

    Example: broker-plane servers ls
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            found = await plane.mcp_servers.list(name)
        if json:
            say_json([each.to_wire() for each in found])
        elif found:
            shown = ("name", "version", "instances", "where", "calls", "errors", "health")
            out.table(shown, [_row(each) for each in found], box=False)
        else:
            note(f"There is no MCP server {name} on this NATS." if name else "There are no MCP servers on this NATS.")

    run(work)


@exchanges.command("ls")
def list_exchanges(
    server: Annotated[str, typer.Option(help="Only requests to the server with this name.")] = "",
    state: Annotated[
        _States | None, typer.Option(help="Only requests in this state: waiting, claimed, running, answered, expired.")
    ] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """List stored requests to MCP servers, oldest first. Answered ones disappear when their client has the answer, or
    when they expire: over webhooks, and with an idempotency key of the client, they stay until then.

    Example: broker-plane exchanges ls --state waiting
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            found = [each for each in await plane.exchanges.list(server) if state in (None, each.state)]
        if json:
            say_json([each.to_wire() for each in found])
        elif found:
            rows = [_exchange_row(each) for each in found]
            out.table(_COLUMNS, rows, box=False)
        else:
            note("There are no such requests." if server or state else "No requests are stored.")

    run(work)


@exchanges.command()
def show(exchange: Id, json: Annotated[bool, Json] = False) -> None:
    """Show a stored request: its state, what it asks for, and the messages about it.

    Example: broker-plane exchanges show 3vQk9…
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            found = await plane.exchanges.show(exchange)
        if json:
            say_json(found)
            return
        lines = {name: value for name, value in found.items() if name not in ("request", "messages")}
        out.lines(lines | {"at": when(found["at"]), "deadline": when(found["deadline"])})
        out.print(f"request  {_cut(found['request'])}")
        for each in found["messages"]:
            out.print(f"message {each['seq']}  {_cut(each['message'])}")

    run(work)


@exchanges.command()
def cancel(exchange: Id, json: Annotated[bool, Json] = False) -> None:
    """Cancel a stored request, wherever it runs or waits. Its client gets an error; its tool is cancelled.

    Example: broker-plane exchanges cancel 3vQk9…
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            cancelled = await plane.exchanges.cancel(exchange)
        if json:
            say_json({"id": exchange, "cancelled": cancelled})
        else:
            out.print("Cancelled." if cancelled else "It was answered before.")

    run(work)


def _row(server: McpServer) -> tuple[object, ...]:
    where = ", ".join(each.process for each in server.instances)
    return server.name, server.version, len(server.instances), where, server.requests, server.errors, server.health


def _exchange_row(each: StoredExchange) -> tuple[object, ...]:
    age = f"{max(0.0, time() - each.at):.0f} s" if out.to_people else when(each.at)
    return each.id, each.server, each.tool or each.method, each.client, each.state, age, each.attempts, each.process


def _cut(message: object) -> str:
    """A message on one line; a large one is cut, and --json has all of it."""
    text = dumps(message).decode()
    return text if len(text) <= _MESSAGE_CHARACTERS else f"{text[:_MESSAGE_CHARACTERS]}… (--json shows all)"
