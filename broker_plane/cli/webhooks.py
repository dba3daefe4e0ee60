"""The commands about webhooks: who is told of a feed's versions by HTTP, and what became of it."""

from __future__ import annotations

from typing import Annotated

import typer

from broker_plane.cli.say import Json, note, out, run, say_json, when
from broker_plane.runtime.plane import Plane
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
        async with Plane.connect() as plane:
            hooks = plane.webhooks
            endpoint, secret = await hooks.add(feed, url, columns=names or None, where=where)
        if json:
            say_json({**endpoint.to_wire(), "secret": secret})
        else:
            _say_secret(endpoint.id, secret)

    run(work)


@webhooks.command()
def ls(json: Annotated[bool, Json] = False) -> None:
    """List the endpoints."""

    async def work() -> None:
        async with Plane.connect() as plane:
            hooks = plane.webhooks
            found = await hooks.list()
        if json:
            say_json([endpoint.to_wire() for endpoint in found])
        else:
            rows = [(each.id, each.feed, each.url, each.state, each.reason) for each in found]
            if rows:
                out.table(("id", "feed", "url", "state", "reason"), rows, box=False)
            else:
                note("There are no endpoints.")

    run(work)


@webhooks.command()
def log(endpoint: Id, json: Annotated[bool, Json] = False) -> None:
    """List every try of the last seven days, oldest first."""

    async def work() -> None:
        async with Plane.connect() as plane:
            hooks = plane.webhooks
            attempts = await hooks.attempts(parse_endpoint_id(endpoint))
        if json:
            say_json(attempts)
            return
        rows = [
            (each["event"], when(each["at"]), each["times"], each["status"], f"{each['seconds']:.2f}", each["error"])
            for each in attempts
        ]
        if rows:
            out.table(("event", "at", "try", "status", "seconds", ""), rows, box=False)
        else:
            note("Nothing was sent there in the last seven days.")

    run(work)


@webhooks.command()
def rotate(endpoint: Id, json: Annotated[bool, Json] = False) -> None:
    """Make a new secret and print it; the one of before signs beside it for a day."""

    async def work() -> None:
        async with Plane.connect() as plane:
            hooks = plane.webhooks
            secret = await hooks.rotate(parse_endpoint_id(endpoint))
        if json:
            say_json({"id": endpoint, "secret": secret})
        else:
            out.result(secret, {"secret": secret})

    run(work)


@webhooks.command()
def enable(endpoint: Id, json: Annotated[bool, Json] = False) -> None:
    """Let a disabled endpoint (it answered 410) go on where it was; it is verified first."""

    async def work() -> None:
        async with Plane.connect() as plane:
            hooks = plane.webhooks
            await hooks.enable(parse_endpoint_id(endpoint))
        if json:
            say_json({"id": endpoint, "state": "active"})
        else:
            out.print("Enabled.")

    run(work)


@webhooks.command()
def remove(endpoint: Id, json: Annotated[bool, Json] = False) -> None:
    """Send nothing there any more, and forget its place."""

    async def work() -> None:
        async with Plane.connect() as plane:
            hooks = plane.webhooks
            await hooks.remove(parse_endpoint_id(endpoint))
        if json:
            say_json({"removed": endpoint})
        else:
            out.print("Removed.")

    run(work)


def _say_secret(endpoint: str, secret: str) -> None:
    if out.to_people:
        out.lines({"endpoint": endpoint, "secret": secret})
    else:
        out.print(endpoint)
        out.print(secret)
