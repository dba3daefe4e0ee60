"""The commands feeds and dlq: feed versions, and the dead letters of feed subscribers."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated, Any

import typer

from broker_plane.cli.console import Json, note, out, run, say_json, when
from broker_plane.cli.narrowing_options import (
    Audience,
    Columns,
    First,
    Formats,
    MaxBytes,
    Rows,
    Where,
    formats_in,
    say_grant,
)
from broker_plane.cli.option_types import uses as option_uses
from broker_plane.cli.option_types import whole_time
from broker_plane.plane.feeds.ports import DeadLetter
from broker_plane.runtime.feeds import DAY_SECONDS, as_fields
from broker_plane.runtime.narrowing import Narrowing
from broker_plane.runtime.plane import Plane
from broker_plane.wire.column_names import parse_names
from broker_plane.wire.feeds import Notice

dlq = typer.Typer(
    help="List and replay dead letters: notices that no subscriber acknowledged after all retries.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
feeds = typer.Typer(
    help="List feed versions, grant feeds, and delete orphaned bodies.", no_args_is_help=True, rich_markup_mode=None
)


async def watch_feed(plane: Plane, feed: str, *, json: bool) -> None:
    """Print the newest notice of `feed` and all later ones, without a durable. Never returns."""
    async with aclosing(plane.feeds.follow(feed)) as notices:
        async for notice in notices:
            if json:
                say_json(notice.to_wire())
            else:
                _say_notice(notice)


@dlq.command("ls")
def list_letters(
    durable: Annotated[str, typer.Option(help="Show only dead letters of this durable.")] = "",
    json: Annotated[bool, Json] = False,
) -> None:
    """List dead letters, oldest first, with their notice, durable and last error.

    Example: broker-plane dlq ls --durable mailer
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            letters = await plane.feeds.dead_letters(durable)
        if json:
            say_json([as_fields(letter) for letter in letters])
        elif letters:
            out.table(("id", "at", "durable", "feed", "version", "tries", "error"), map(_letter, letters), box=False)
        else:
            note("There are no dead letters.")

    run(work)


@dlq.command()
def replay(
    ids: Annotated[list[int] | None, typer.Argument(help="Ids printed by `dlq ls`. Default: all.")] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """Redeliver dead letters to their durable, after its pending notices and with a fresh retry count.

    Example: broker-plane dlq replay 12 15
    """

    async def work() -> int:
        async with Plane.connect() as plane:
            replayed = await plane.feeds.replay(ids or [])
        if json:
            say_json([as_fields(letter) for letter in replayed])
        else:
            out.print(f"Replayed {len(replayed)}.")
        return 1 if len(replayed) < len(ids or []) else 0

    run(work)


@feeds.command("ls")
def list_feeds(
    feed: Annotated[
        str, typer.Argument(help="List the versions of this feed. Default: the newest version of every feed.")
    ] = "",
    json: Annotated[bool, Json] = False,
) -> None:
    """List all feeds, or the stored versions of one.

    Example: broker-plane feeds ls crm.contacts
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            found: list[Notice] = []
            if feed:
                async with aclosing(plane.feeds.versions(feed)) as notices:
                    found = [notice async for notice in notices]
            else:
                newest = [await plane.feeds.latest(name) for name in await plane.feeds.names()]
                found = [notice for notice in newest if notice]
        if json:
            say_json([notice.to_wire() for notice in found])
        else:
            for notice in found:
                _say_notice(notice)
            if not found:
                note(f"The feed {feed} has no versions." if feed else "There are no feeds.")

    run(work)


@feeds.command("grant")
def grant_feed(
    feed: Annotated[str, typer.Argument(help="Feed, such as crm.contacts.")],
    columns: Columns = None,
    rows: Rows = None,
    first: First = None,
    where: Where = None,
    uses: Annotated[Any, option_uses("Completed deliveries of versions. Default: unlimited.")] = None,
    ttl: Annotated[int, whole_time("Lifetime, such as 600, 10m or 7d.")] = DAY_SECONDS,
    audience: Audience = None,
    max_bytes: MaxBytes = None,
    formats: Formats = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """Print a grant for a feed, with its versions to come. Its URL streams the notices.

    In a pipe, only the URL is printed.

    Example: broker-plane feeds grant crm.contacts --columns id,mail --where "city = 'Oslo'" --ttl 7d
    """

    async def work() -> None:
        less = Narrowing(
            columns=None if columns is None else parse_names(columns),
            rows=rows,
            first=first,
            where=where,
            uses=uses,
            audience=audience,
            max_bytes=max_bytes,
            formats=formats_in(formats),
        )
        async with Plane.connect() as plane:
            made = await plane.feeds.grant_checked(feed, less, ttl=ttl)
            offered = made.subject if plane.offers_subjects else None
        say_grant(made, offered, chosen_uses=uses is not None, json=json)

    run(work)


@feeds.command()
def sweep(json: Annotated[bool, Json] = False) -> None:
    """Delete orphaned bodies: those whose publisher ended before announcing them. Bridges do this regularly.

    Example: broker-plane feeds sweep
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            freed = await plane.feeds.delete_orphans(plane.settings.owner)
        if json:
            say_json({"freed": freed})
        else:
            out.print(f"Deleted {freed}.")

    run(work)


def _say_notice(notice: Notice) -> None:
    if out.to_people:
        out.print(_line(notice))
        return
    delta = notice.delta
    changed = (None, None) if delta is None else (delta.rows, delta.size)
    fields = (notice.feed, notice.version, when(notice.at), notice.body.rows, notice.body.size, *changed)
    out.table((), [fields])


def _line(notice: Notice) -> str:
    rows = "" if notice.body.rows is None else f"{notice.body.rows:,} rows  "
    delta = "" if notice.delta is None else f"delta of {notice.delta.rows:,} rows, {notice.delta.size:,} bytes"
    return f"{notice.feed} {notice.version}  {when(notice.at)}  {rows}{notice.body.size:,} bytes  {delta}"


def _letter(letter: DeadLetter) -> tuple[object, ...]:
    notice = letter.notice
    return str(letter.id), when(letter.at), letter.durable, notice.feed, notice.version, letter.attempts, letter.error
