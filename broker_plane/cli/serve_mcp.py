"""The command serve: an MCP server behind carriers that outlive connections (docs/transports.md)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from broker_plane.cli.console import Json, LogLevel, out, run, say_json
from broker_plane.cli.process_end import leave_threads_behind
from broker_plane.cli.proxy_options import Consumers, HeaderEnv, ReadingTools, Shapes, Threshold
from broker_plane.errors import ConfigError

if TYPE_CHECKING:
    from broker_plane.proxy.options import ProxyOptions
    from broker_plane.transports.describing import ServerFacts
    from broker_plane.transports.serving import Front

DRAIN_SECONDS = 10.0

Nats = Annotated[str, typer.Option("--nats", help="Serve on NATS under this name; clients use nats:NAME.")]
Webhook = Annotated[
    str,
    typer.Option(
        "--webhook", help="[HOST:]PORT: serve over HTTP with answers to callbacks (docs/mcp-over-webhooks.md)."
    ),
]
Name = Annotated[
    str,
    typer.Option("--name", help="With --webhook alone: name of the server for its other processes. Default: its own."),
]
Drain = Annotated[
    float, typer.Option("--drain", help="Seconds for which work under way is finished at the end.", min=0)
]


def serve(
    server: Annotated[
        list[str], typer.Argument(help="server.py, server.py:name, or after --: the command of a server, or its URL.")
    ],
    nats: Nats = "",
    webhook: Webhook = "",
    name: Name = "",
    threshold: Threshold = "",
    consumer: Consumers = None,
    shape: Shapes = None,
    reading_tools: ReadingTools = False,
    header_env: HeaderEnv = None,
    drain: Drain = DRAIN_SECONDS,
    log_level: Annotated[str | None, LogLevel] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """Serve an MCP server on NATS or by webhooks: any number of instances, durable calls, large results as bodies.

    \b
    Examples:
      broker-plane serve --nats weather server.py
      broker-plane serve --nats files -- npx -y @modelcontextprotocol/server-filesystem .
      broker-plane serve --webhook 0.0.0.0:8100 server.py
      broker-plane serve --nats crm --header-env Authorization=CRM_AUTH -- https://crm.example/mcp
    """

    async def work() -> int:
        from broker_plane.proxy.options import ProxyOptions  # the other commands need no MCP SDK

        options = ProxyOptions(threshold, consumer or (), shape or (), reading_tools)
        return await serve_words(server, _fronts(nats, webhook, name, drain), options, header_env or (), json=json)

    run(work, log_level=log_level)


async def serve_words(
    words: Sequence[str], fronts: Sequence[Front], options: ProxyOptions, header_env: Iterable[str], *, json: bool
) -> int:
    """Serve a server until a signal, and say where; returns the exit code."""
    from broker_plane.transports.serving import serve_server

    def ready(facts: ServerFacts, places: list[str]) -> None:
        if json:
            say_json({"places": places, "server": facts.name, "versions": list(facts.versions), "tools": facts.tools})
        else:
            out.print(f"MCP server {facts.name} at {', '.join(places)}")

    leave_threads_behind()
    return await serve_server(words, fronts, options, header_env=header_env, ready=ready)


def nats_carrier(name: str, drain_seconds: float = DRAIN_SECONDS) -> Front:
    """Serves on NATS under this name. Raises ConfigError if it cannot be one."""
    from broker_plane.transports.nats.front import nats_front
    from broker_plane.transports.nats.wire_form import parse_server_name

    parse_server_name(name)
    return lambda hosted: nats_front(hosted.host, hosted.facts, name, hosted.settings, drain_seconds=drain_seconds)


def webhook_carrier(address: str, name: str = "", drain_seconds: float = DRAIN_SECONDS) -> Front:
    """Serves by webhooks at this address."""
    from broker_plane.transports.webhook.addresses import parse_address
    from broker_plane.transports.webhook.serving import serving_front

    host, port = parse_address(address)
    return lambda hosted: serving_front(
        hosted.host, hosted.facts, name, hosted.settings, host, port, drain_seconds=drain_seconds
    )


def _fronts(nats: str, webhook: str, name: str, drain_seconds: float) -> list[Front]:
    """The carriers that the options name. Raises ConfigError if there is none."""
    fronts = [nats_carrier(nats, drain_seconds)] if nats else []
    if webhook:
        fronts.append(webhook_carrier(webhook, name or nats, drain_seconds))
    if not fronts:
        raise ConfigError("Name a carrier, such as --nats weather or --webhook 8100")
    return fronts
