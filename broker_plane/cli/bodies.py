"""The commands publish, pull, ls, delete and watch."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import anyio.to_thread
import typer

from broker_plane.cli.console import Json, bar, err, note, out, run, say_json, when
from broker_plane.cli.feeds import watch_feed
from broker_plane.cli.grant_uses import say_uses, uses_or_unlimited, uses_text
from broker_plane.cli.option_types import uses, whole_time
from broker_plane.cli.pull_output import PullOrder, pull_to_output
from broker_plane.formats.kinds import DELIMITED, FileKind, Format, kind_in
from broker_plane.formats.opening import open_table
from broker_plane.formats.table_files import ArrowFile, RowsFile
from broker_plane.runtime.arguments import uses_of_wire
from broker_plane.runtime.offering import Published
from broker_plane.runtime.plane import Plane
from broker_plane.tabular.json_values import json_bytes, json_value
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.column_names import NAMES_HELP, parse_names, resolved
from broker_plane.wire.names import parse_body_id

_PIECE_BYTES = 1 << 19


def publish(
    file: Annotated[str, typer.Argument(help="File to publish, or - for standard input.")],
    form: Annotated[
        Format | None, typer.Option("--format", help="Format of the file. Default: from its extension, or bytes.")
    ] = None,
    abstract: Annotated[str, typer.Option(help=f"Columns to include in the abstract, as {NAMES_HELP}.")] = "",
    ttl: Annotated[int | None, whole_time("Lifetime of the body, such as 600, 10m or 2h.")] = None,
    uses: Annotated[Any, uses("Completed deliveries of the grant.")] = None,
    delete_when_used: Annotated[
        bool, typer.Option("--delete-when-used", help="Delete the body as soon as all its grants are used up.")
    ] = False,
    feed: Annotated[str, typer.Option(help="Publish as the next version of this feed, such as crm.contacts.")] = "",
    key: Annotated[str, typer.Option(help=f"With --feed: columns that identify a row, as {NAMES_HELP}.")] = "",
    kind: Annotated[
        str, typer.Option(help="With --feed: snapshot (all rows) or delta (only new and changed rows).")
    ] = "snapshot",
    name: Annotated[str, typer.Option(help="File name shown to clients.")] = "",
    text: Annotated[
        bool, typer.Option("--text", help="CSV and TSV: keep all values as text, without detecting types.")
    ] = False,
    sheet: Annotated[str | None, typer.Option(help="XLSX: sheet to read. Default: the first.")] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """Publish a file or standard input as a body, and print a grant for it.

    In a pipe, only the resource_url is printed to standard output.

    Example: broker-plane pull $(broker-plane publish table.csv --abstract event,area)
    """

    async def work() -> None:
        if kind not in ("snapshot", "delta"):
            raise typer.BadParameter("--kind must be snapshot or delta")
        if (key or kind == "delta") and not feed:
            raise typer.BadParameter("--key and --kind need --feed")
        version: dict[str, Any] = {"feed": feed, "key": parse_names(key, "--key") or None, "kind": kind} if feed else {}
        options: dict[str, Any] = {
            "ttl": ttl,
            "uses": uses_of_wire(uses),
            "name": name,
            "delete_when_used": delete_when_used or None,
            **version,
        }
        kind_of_file = kind_in(file, form)
        if text and kind_of_file.form not in DELIMITED:
            raise typer.BadParameter("--text is only for CSV and TSV files")
        if sheet is not None and kind_of_file.form is not Format.xlsx:
            raise typer.BadParameter("--sheet is only for XLSX files")
        unit = "bytes" if kind_of_file.form is Format.bytes else "rows"
        async with Plane.connect() as plane:
            with bar(f"publish {file}", quiet=json, unit=unit) as progress:
                options["progress"] = progress
                if kind_of_file.form is Format.bytes:
                    published = await _publish_bytes(plane, file, options)
                else:
                    source = _Source(file, kind_of_file, sheet, text=text)
                    published = await _publish_rows(plane, source, parse_names(abstract), options)
        fields = _published(published)
        if json:
            say_json(fields)
        else:
            _say_published(published, chosen_uses=uses is not None)

    run(work)


def pull(
    address: Annotated[str, typer.Argument(help="A resource_url or a presigned subject.")],
    via: Annotated[str | None, typer.Option(help="http or nats. Default: the more direct one.")] = None,
    columns: Annotated[str | None, typer.Option(help=f"Columns, as {NAMES_HELP}.")] = None,
    rows: Annotated[str | None, typer.Option(help="Row ids and ranges: 0-99,200.")] = None,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="Output format. Default: from the file's extension, or json."),
    ] = None,
    output: Annotated[
        str, typer.Option("-o", "--output", help="File, FIFO or device to write; - is standard output.")
    ] = "-",
    csv_safe: Annotated[
        bool,
        typer.Option("--csv-safe", help="CSV and TSV: put ' before text that a spreadsheet would run as a formula."),
    ] = False,
    json: Annotated[bool, Json] = False,
) -> None:
    """Pull a body to standard output or a file. The exit code is 0 only if every byte was verified.

    A file is replaced only after verification.

    Example: broker-plane pull URL --columns event,severity -o alerts.csv
    """

    async def work() -> None:
        if via not in (None, "http", "nats"):
            raise typer.BadParameter("--via must be http or nats")
        way: Any = via
        async with Plane.connect() as plane:
            with bar("pull", quiet=json, first="pull: waiting for an answer") as progress:
                order = PullOrder(address, columns, rows, way, form, output, csv_safe, progress)
                done = await pull_to_output(plane, order)
        if json:
            say_json({**done, "output": None if output == "-" else output, "verified": True})
        else:
            _say_changes(done)

    run(work, at=address)


def _say_changes(done: dict[str, Any]) -> None:
    """Say what the file holds in another form than the body."""
    form = done.get("format", "")
    if lost := done.get("lost"):
        err.print(f"{lost:,} values that {form} cannot represent (NaN, infinities) were written as null.")
    if rounded := done.get("rounded"):
        err.print(f"{rounded:,} times were cut to milliseconds, the most that a workbook keeps.")
    if names := done.get("as_text"):
        err.print(f"Columns with values of several types were written as text: {', '.join(names)}.")


def ls(json: Annotated[bool, Json] = False) -> None:
    """List stored bodies.

    Example: broker-plane ls --json
    """

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
    body_id: Annotated[str, typer.Argument(help="Id of the body, as printed by publish and ls.")],
    json: Annotated[bool, Json] = False,
) -> None:
    """Delete a body now. Its grants stop working.

    Example: broker-plane delete 4fQ2mZp0Rk6d1sVxYwBn9A
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            await plane.bodies.delete(parse_body_id(body_id))
        if json:
            say_json({"deleted": body_id})
        else:
            out.print(f"Deleted {body_id}.")

    run(work)


def watch(
    feed: Annotated[str, typer.Argument(help="Feed to watch. Default: all new bodies of this owner.")] = "",
    json: Annotated[bool, Json] = False,
) -> None:
    """Print every new body, or every new version of a feed, until Ctrl-C.

    Example: broker-plane watch crm.contacts
    """

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


@dataclass(frozen=True, slots=True)
class _Source:
    """A file of rows or of a table, or standard input."""

    file: str
    kind: FileKind
    sheet: str | None
    text: bool

    def open(self) -> RowsFile | ArrowFile:
        file = sys.stdin.buffer if self.file == "-" else Path(self.file).open("rb")  # noqa: SIM115 - the table closes it
        return open_table(file, self.kind, sheet=self.sheet, text=self.text)


async def _publish_rows(plane: Plane, source: _Source, abstract: list[str], options: dict[str, Any]) -> Published:
    with await anyio.to_thread.run_sync(source.open) as rows:
        if isinstance(rows, RowsFile) and len(rows.sheets) > 1:
            others = ", ".join(repr(name) for name in rows.sheets if name != rows.sheet)
            note(f"Read the sheet {rows.sheet!r}; the workbook also has {others} (--sheet).")
        if options.get("key"):
            options["key"] = resolved(options["key"], rows.columns)
        return await plane.publish(rows, abstract=abstract, **options)


async def _publish_bytes(plane: Plane, file: str, options: dict[str, Any]) -> Published:
    if file != "-":
        return await plane.publish(Path(file), **options)
    if "feed" in options:
        return await plane.publish(b"".join([piece async for piece in _stdin()]), **options)
    return await plane.publish_pieces(_stdin(), **options)


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
        "uses": uses_or_unlimited(published.grant),
        "abstract": json_value(published.abstract),
    }
    if published.notice is not None:
        fields |= {"feed": published.notice.feed, "version": published.version}
    return fields | (
        {"abstract_truncated": True, "summary": json_value(published.summary)} if published.abstract_truncated else {}
    )


def _say_published(published: Published, *, chosen_uses: bool) -> None:
    body = published.body
    rows = "" if body.rows is None else f", {body.rows:,} rows of {len(body.columns)} columns"
    about = {
        "body": body.id,
        "size": f"{body.size:,} bytes{rows}",
        "version": f"{published.version} of {body.feed}" if published.notice is not None else None,
        "expires": when(body.expires) if published.notice is None else None,
        "uses": uses_text(published.grant, chosen=chosen_uses),
        "resource_url": published.resource_url,
        "subject": published.subject if published.offers_subject else None,
    }
    out.result(published.resource_url, about)
    say_uses(published.grant, chosen=chosen_uses)
    abstract = out if out.to_people else err
    shown = any(len(row) > 1 for row in published.abstract[:1])  # else there are row ids alone
    for row in published.abstract[:20] if shown else ():
        abstract.print(json_bytes(row).decode())


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
