"""The command webhooks: HTTP endpoints that are notified of a feed's versions."""

from __future__ import annotations

from typing import Annotated

import typer

from broker_plane.cli.console import Json, note, out, run, say_json, when
from broker_plane.runtime.plane import Plane
from broker_plane.wire.column_names import parse_names, resolved
from broker_plane.wire.webhooks import parse_endpoint_id

webhooks = typer.Typer(
    help="Manage HTTP endpoints that are notified of a feed's versions (Standard Webhooks; docs/webhooks.md).",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Id = Annotated[str, typer.Argument(help="Id printed by `webhooks ls`.")]


@webhooks.command()
def add(
    feed: Annotated[str, typer.Argument(help="Feed whose versions are sent.")],
    url: Annotated[str, typer.Argument(help="URL of the receiver: https, and it must answer a verification request.")],
    columns: Annotated[str, typer.Option(help="Columns the receiver may read (comma-separated).")] = "",
    where: Annotated[
        str | None, typer.Option(help="Rows the receiver may read, as in `broker-plane grant --where`.")
    ] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """Register an endpoint and print its signing secret, which is shown only once.

    Example: broker-plane webhooks add crm.contacts https://example.com/hook --columns id,email
    """

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
    """List endpoints.

    Example: broker-plane webhooks ls
    """

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
    """List the attempts of the last seven days, oldest first.

    Example: broker-plane webhooks log ep_2fQ…
    """

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
            out.table(("event", "at", "attempt", "status", "seconds", ""), rows, box=False)
        else:
            note("There were no attempts in the last seven days.")

    run(work)


@webhooks.command()
def rotate(endpoint: Id, json: Annotated[bool, Json] = False) -> None:
    """Create a new signing secret and print it. The old one also signs for another day.

    Example: broker-plane webhooks rotate ep_2fQ…
    """

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
    """Enable an endpoint that was disabled because it answered 410. It is verified first and resumes where it stopped.

    Example: broker-plane webhooks enable ep_2fQ…
    """

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
    """Remove an endpoint and its cursor.

    Example: broker-plane webhooks remove ep_2fQ…
    """

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
