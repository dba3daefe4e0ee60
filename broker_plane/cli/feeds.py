"""The commands feeds and dlq: feed versions, and the dead letters of feed subscribers."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated

import typer

from broker_plane.cli.console import Json, note, out, run, say_json, when
from broker_plane.plane.feeds.ports import DeadLetter
from broker_plane.runtime.feeds import as_fields
from broker_plane.runtime.plane import Plane
from broker_plane.wire.feeds import Notice

dlq = typer.Typer(
    help="List and replay dead letters: notices that no subscriber acknowledged after all retries.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
feeds = typer.Typer(help="List feed versions and delete orphaned bodies.", no_args_is_help=True, rich_markup_mode=None)


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
