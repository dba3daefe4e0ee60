"""The commands about bodies: publish, pull, ls, delete, watch."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import anyio.to_thread
import typer

from broker_plane.cli.csv_file import CsvRows
from broker_plane.cli.feeds import watch_feed
from broker_plane.cli.flags import whole_time
from broker_plane.cli.formats import Format, columns_in, format_in, read_rows
from broker_plane.cli.output import PullOrder, pull_to_output
from broker_plane.cli.say import Json, bar, err, note, out, run, say_json, when
from broker_plane.runtime.arguments import uses_of_wire
from broker_plane.runtime.offering import Published
from broker_plane.runtime.plane import Plane
from broker_plane.tabular.json_values import dumps, json_value
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.column_names import NAMES_HELP, parse_names, resolved
from broker_plane.wire.names import parse_body_id

_PIECE_BYTES = 1 << 19


def publish(
    file: Annotated[str, typer.Argument(help="The file, or - for standard input.")],
    form: Annotated[Format | None, typer.Option("--format", help="Default: by the file's ending, else bytes.")] = None,
    abstract: Annotated[str, typer.Option(help=f"Columns to print, as {NAMES_HELP}.")] = "",
    ttl: Annotated[int | None, whole_time("How long the body lives, as 600, 10m or 2h (10m).")] = None,
    uses: Annotated[int | None, typer.Option(help="Deliveries of the grant; 0 is unlimited (1).", min=0)] = None,
    collect: Annotated[
        bool, typer.Option("--collect", help="Free it after the last use of its last grant, before it expires.")
    ] = False,
    feed: Annotated[str, typer.Option(help="Publish it as the next version of this feed, as crm.contacts.")] = "",
    key: Annotated[str, typer.Option(help=f"With --feed: columns that tell rows apart, as {NAMES_HELP}.")] = "",
    kind: Annotated[
        str, typer.Option(help="With --feed: snapshot (all rows), or delta (those that are new or changed).")
    ] = "snapshot",
    name: Annotated[str, typer.Option(help="File name for those who pull it.")] = "",
    text: Annotated[
        bool, typer.Option("--text", help="CSV: leave every value the text that it is, without a type.")
    ] = False,
    json: Annotated[bool, Json] = False,
) -> None:
    """Store a file or standard input as a body, and print a grant for it.

    In a pipe the resource_url is all that is on standard output: broker-plane pull $(broker-plane publish t.csv)
    """

    async def work() -> None:
        if kind not in ("snapshot", "delta"):
            raise typer.BadParameter("--kind is snapshot or delta")
        if (key or kind == "delta") and not feed:
            raise typer.BadParameter("--key and --kind are of a feed: give --feed as well")
        version = {"feed": feed, "key": parse_names(key, "--key") or None, "kind": kind} if feed else {}
        options = {"ttl": ttl, "uses": uses_of_wire(uses), "name": name, "delete_when_used": collect or None, **version}
        form_in = format_in(file, form)
        if text and form_in is not Format.csv:
            raise typer.BadParameter("--text is of CSV files")
        async with Plane.connect() as plane:
            with bar(f"publish {file}", quiet=json, unit="bytes" if form_in is Format.bytes else "rows") as progress:
                published = await _publish(
                    plane, file, form_in, parse_names(abstract), {**options, "progress": progress}, text=text
                )
        fields = _published(published)
        if json:
            say_json(fields)
        else:
            _say_published(published)

    run(work)


def pull(
    address: Annotated[str, typer.Argument(help="A resource_url or a presigned subject.")],
    via: Annotated[str | None, typer.Option(help="http or nats; default: the shorter way.")] = None,
    columns: Annotated[str | None, typer.Option(help=f"Columns, as {NAMES_HELP}.")] = None,
    rows: Annotated[str | None, typer.Option(help="Comma list of row ids.")] = None,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="Of the output; default: by the file's ending, json without a file."),
    ] = None,
    output: Annotated[
        str, typer.Option("-o", "--output", help="A file, a FIFO or a device; default: standard output, as -.")
    ] = "-",
    csv_safe: Annotated[
        bool, typer.Option("--csv-safe", help="In CSV, put ' before text that a spreadsheet would run as a formula.")
    ] = False,
    json: Annotated[bool, Json] = False,
) -> None:
    """Pull a body. Exit 0 only for a verified read; a file changes only then, and a stream ends only then."""

    async def work() -> None:
        if via not in (None, "http", "nats"):
            raise typer.BadParameter("--via is http or nats")
        way: Any = via
        async with Plane.connect() as plane:
            with bar("pull", quiet=json) as progress:
                order = PullOrder(address, columns, rows, way, form, output, csv_safe, progress)
                done = await pull_to_output(plane, order)
        if json:
            say_json({**done, "output": None if output == "-" else output, "verified": True})
        elif lost := done.get("lost"):
            err.print(f"{lost:,} values that are no numbers (NaN, infinities) were written as null.")

    run(work, at=address)


def ls(json: Annotated[bool, Json] = False) -> None:
    """List the bodies that are stored."""

    async def work() -> None:
        async with Plane.connect() as plane:
            bodies = await plane.bodies.list()
        if json:
            say_json([_listed(body) for body in bodies])
            return
        if not bodies:
            note("No bodies are stored.")
            return
        out.table(("body", "kind", "rows", "columns", "bytes", "expires", "name"), map(_row, bodies))

    run(work)


def delete(
    body_id: Annotated[str, typer.Argument(help="As publish and ls print it.")], json: Annotated[bool, Json] = False
) -> None:
    """Remove a body now; grants for it open nothing from then on."""

    async def work() -> None:
        async with Plane.connect() as plane:
            await plane.bodies.delete(parse_body_id(body_id))
        if json:
            say_json({"deleted": body_id})
        else:
            out.print(f"Deleted {body_id}.")

    run(work)


def watch(
    feed: Annotated[str, typer.Argument(help="A feed; default: every body of this owner.")] = "",
    json: Annotated[bool, Json] = False,
) -> None:
    """Print every new body as it is committed, or every version of a feed, until Ctrl-C."""

    async def work() -> None:
        async with Plane.connect() as plane:
            if feed:
                await watch_feed(plane, feed, json=json)
            async for body in plane.bodies.watch():
                if json:
                    say_json(_listed(body))
                else:
                    _say_body(body)

    run(work)


async def _publish(
    plane: Plane, file: str, form: Format, domains: list[str], options: dict[str, Any], *, text: bool
) -> Published:
    if form is not Format.bytes:
        with _source(file) as source:
            rows = await anyio.to_thread.run_sync(partial(read_rows, source, form, text=text))
            if options.get("key"):
                options["key"] = resolved(options["key"], columns_in(rows))
            if isinstance(rows, CsvRows):
                options["columns"] = rows.columns
            return await plane.publish(rows, abstract=domains, **options)
    if file != "-":
        return await plane.publish(Path(file), **options)
    if "feed" in options:
        return await plane.publish(b"".join([piece async for piece in _stdin()]), **options)
    return await plane.publish_pieces(_stdin(), **options)


def _source(file: str) -> BinaryIO:
    return sys.stdin.buffer if file == "-" else Path(file).open("rb")


async def _stdin() -> AsyncIterator[bytes]:
    while piece := await anyio.to_thread.run_sync(sys.stdin.buffer.read, _PIECE_BYTES):
        yield piece


def _published(published: Published) -> dict[str, Any]:
    body = published.body
    fields = {
        "body_id": body.id,
        "resource_url": published.resource_url,
        "subject": published.subject if published.offers_subject else None,
        "size": body.size,
        "rows": body.rows,
        "columns": list(body.columns),
        "digest": f"sha256:{body.digest}",
        "expires": body.expires,
        "abstract": json_value(published.abstract),
    }
    if published.notice is not None:
        fields |= {"feed": published.notice.feed, "version": published.version}
    return fields | (
        {"abstract_truncated": True, "summary": json_value(published.summary)} if published.abstract_truncated else {}
    )


def _say_published(published: Published) -> None:
    body = published.body
    rows = "" if body.rows is None else f", {body.rows:,} rows of {len(body.columns)} columns"
    about = {
        "body": body.id,
        "size": f"{body.size:,} bytes{rows}",
        "version": f"{published.version} of {body.feed}" if published.notice is not None else None,
        "expires": when(body.expires) if published.notice is None else None,
        "resource_url": published.resource_url,
        "subject": published.subject if published.offers_subject else None,
    }
    out.result(published.resource_url, about)
    abstract = out if out.to_people else err
    shown = any(len(row) > 1 for row in published.abstract[:1])  # else there are row ids alone
    for row in published.abstract[:20] if shown else ():
        abstract.print(dumps(row).decode())


def _row(body: BodyInfo) -> tuple[object, ...]:
    until = f"with {body.feed}" if body.feed else when(body.expires)
    return body.id, body.kind, body.rows, len(body.columns) or None, body.size, until, body.name


def _say_body(body: BodyInfo) -> None:
    if not out.to_people:
        out.table((), [_row(body)])
        return
    rows = "" if body.rows is None else f"{body.rows:,} rows"
    out.print(f"{body.id}  {body.size:,} bytes  {rows}  {body.name}")


def _listed(body: BodyInfo) -> dict[str, Any]:
    return {
        "body_id": body.id,
        "kind": body.kind,
        "size": body.size,
        "rows": body.rows,
        "columns": list(body.columns),
        "digest": f"sha256:{body.digest}",
        "created": body.created,
        "expires": body.expires,
        "name": body.name,
    }
