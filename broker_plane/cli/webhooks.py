"""The commands about webhooks: who is told of a feed's versions by HTTP, and what became of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from broker_plane.cli.say import Json, out, run, say_json
from broker_plane.runtime.connect import Plane
from broker_plane.wire.column_names import parse_names, resolved
from broker_plane.wire.webhooks import parse_endpoint_id

webhooks = typer.Typer(
    help="Webhooks: receivers that are told of a feed's versions (Standard Webhooks; docs/webhooks.md).",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Id = Annotated[str, typer.Argument(help="As `webhooks ls` prints it.")]


@webhooks.command()
def add(
    feed: Annotated[str, typer.Argument(help="The feed.")],
    url: Annotated[str, typer.Argument(help="The receiver: https, and it answers a verification.")],
    columns: Annotated[str, typer.Option(help="Comma list: what its events lead to shows no others.")] = "",
    where: Annotated[str | None, typer.Option(help="Only these rows, as `broker-plane grant --where`.")] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """Register a receiver, and print its secret, which is told this once."""

    async def work() -> None:
        names = resolved(parse_names(columns), ())
        async with Plane.connect() as plane, plane.webhooks() as hooks:
            endpoint, secret = await hooks.add(feed, url, columns=names or None, where=where)
        if json:
            say_json({**endpoint.to_wire(), "secret": secret})
        else:
            out.print(f"{endpoint.id}\n{secret}", soft_wrap=True)

    run(work)


@webhooks.command()
def ls(json: Annotated[bool, Json] = False) -> None:
    """List the endpoints."""

    async def work() -> None:
        async with Plane.connect() as plane, plane.webhooks() as hooks:
            found = await hooks.ls()
        if json:
            say_json([endpoint.to_wire() for endpoint in found])
        else:
            for endpoint in found:
                out.print(
                    f"{endpoint.id}  {endpoint.feed}  {endpoint.url}  {endpoint.state} {endpoint.reason}",
                    soft_wrap=True,
                )

    run(work)


@webhooks.command()
def log(endpoint: Id, json: Annotated[bool, Json] = False) -> None:
    """List every try of the last seven days, oldest first."""

    async def work() -> None:
        async with Plane.connect() as plane, plane.webhooks() as hooks:
            attempts = await hooks.log(parse_endpoint_id(endpoint))
        if json:
            say_json(attempts)
            return
        table = Table("at", "event", "try", "status", "seconds", "", box=None)
        for each in attempts:
            when = datetime.fromtimestamp(each["at"], UTC).astimezone().strftime("%m-%d %H:%M:%S")
            table.add_row(
                when, each["event"], str(each["times"]), str(each["status"]), f"{each['seconds']:.2f}", each["error"]
            )
        out.print(table)

    run(work)


@webhooks.command()
def rotate(endpoint: Id, json: Annotated[bool, Json] = False) -> None:
    """Make a new secret and print it; the one of before signs beside it for a day."""

    async def work() -> None:
        async with Plane.connect() as plane, plane.webhooks() as hooks:
            secret = await hooks.endpoints.rotate(parse_endpoint_id(endpoint))
        if json:
            say_json({"id": endpoint, "secret": secret})
        else:
            out.print(secret, soft_wrap=True)

    run(work)


@webhooks.command()
def enable(endpoint: Id, json: Annotated[bool, Json] = False) -> None:
    """Let a disabled endpoint (it answered 410) go on where it was; it is verified first."""

    async def work() -> None:
        async with Plane.connect() as plane, plane.webhooks() as hooks:
            await hooks.endpoints.enable(parse_endpoint_id(endpoint))
        if json:
            say_json({"id": endpoint, "state": "active"})
        else:
            out.print("Enabled.")

    run(work)


@webhooks.command()
def remove(endpoint: Id, json: Annotated[bool, Json] = False) -> None:
    """Send nothing there any more, and forget its place."""

    async def work() -> None:
        async with Plane.connect() as plane, plane.webhooks() as hooks:
            await hooks.remove(parse_endpoint_id(endpoint))
        if json:
            say_json({"removed": endpoint})
        else:
            out.print("Removed.")

    run(work)
