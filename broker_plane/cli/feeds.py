"""The commands about feeds: watch one, and what became of notices that nobody took."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated

import typer

from broker_plane.cli.say import Json, note, out, run, say_json, when
from broker_plane.plane.feeds.ports import DeadLetter
from broker_plane.runtime.feeds import as_fields
from broker_plane.runtime.plane import Plane
from broker_plane.wire.feeds import Notice

dlq = typer.Typer(
    help="Dead letters: notices that the subscribers of a durable did not take, after all tries.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
feeds = typer.Typer(
    help="Feeds: their versions, and freeing what no version names.", no_args_is_help=True, rich_markup_mode=None
)


async def watch_feed(plane: Plane, feed: str, *, json: bool) -> None:
    """Print the newest notice of `feed`, and every one that follows, for ever. Nothing is taken from a durable."""
    async with aclosing(plane.feeds.follow(feed)) as notices:
        async for notice in notices:
            if json:
                say_json(notice.to_wire())
            else:
                _say_notice(notice)


@dlq.command("list")
def list_letters(
    durable: Annotated[str, typer.Option(help="Only of this durable.")] = "", json: Annotated[bool, Json] = False
) -> None:
    """List dead letters, oldest first: which notice, of which durable, and the last error."""

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
    ids: Annotated[list[int] | None, typer.Argument(help="As `dlq list` prints them; none: all.")] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """Give notices to their durable once more, with all tries before them, behind what it has to take now."""

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
    feed: Annotated[str, typer.Argument(help="Its versions; default: the newest of every feed.")] = "",
    json: Annotated[bool, Json] = False,
) -> None:
    """List feeds, or the versions of one that are kept."""

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
    """Free bodies that a publisher left which ended before it announced them. Bridges do it as well."""

    async def work() -> None:
        async with Plane.connect() as plane:
            freed = await plane.feeds.delete_orphans(plane.settings.owner)
        if json:
            say_json({"freed": freed})
        else:
            out.print(f"Freed {freed}.")

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
    return str(letter.id), when(letter.at), letter.durable, notice.feed, notice.version, letter.times, letter.error
