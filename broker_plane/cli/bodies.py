"""The commands about bodies: publish, pull, ls, delete, watch."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import anyio.to_thread
import orjson
import typer

from broker_plane.cli.feeds import watch_feed
from broker_plane.cli.flags import whole_time
from broker_plane.cli.formats import Format, format_of, read_rows, write_rows
from broker_plane.cli.say import Json, bar, err, note, out, run, say_json, when
from broker_plane.plane.ports import Incoming
from broker_plane.plane.pull import body_of, frames_of
from broker_plane.runtime.connect import Plane, Published
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.names import parse_body_id
from broker_plane.wire.selector import Selector, parse_selector_texts

_PIECE_BYTES = 1 << 19


def publish(
    file: Annotated[str, typer.Argument(help="The file, or - for standard input.")],
    form: Annotated[Format | None, typer.Option("--format", help="Default: by the file's ending, else bytes.")] = None,
    abstract: Annotated[str, typer.Option(help="Columns to print, as a comma list.")] = "",
    ttl: Annotated[int | None, whole_time("How long the body lives, as 600, 10m or 2h (10m).")] = None,
    uses: Annotated[int | None, typer.Option(help="Deliveries of the grant; 0 is unlimited (1).", min=0)] = None,
    collect: Annotated[
        bool, typer.Option("--collect", help="Free it after the last use of its last grant, before it expires.")
    ] = False,
    feed: Annotated[str, typer.Option(help="Publish it as the next version of this feed, as crm.contacts.")] = "",
    key: Annotated[str, typer.Option(help="With --feed: columns that tell rows apart, as a comma list.")] = "",
    kind: Annotated[
        str, typer.Option(help="With --feed: snapshot (all rows), or delta (those that are new or changed).")
    ] = "snapshot",
    name: Annotated[str, typer.Option(help="File name for those who pull it.")] = "",
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
        version = {"feed": feed, "key": _names(key) or None, "kind": kind} if feed else {}
        options = {"ttl": ttl, "uses": uses, "name": name, "collect": collect or None, **version}
        form_in = format_of(file, form)
        async with Plane.connect() as plane:
            with bar(f"publish {file}", quiet=json, unit="bytes" if form_in is Format.bytes else "rows") as progress:
                published = await _publish(plane, file, form_in, _names(abstract), {**options, "progress": progress})
        fields = _published(published)
        if json:
            say_json(fields)
        else:
            _say_published(published, _names(abstract))

    run(work)


def pull(
    address: Annotated[str, typer.Argument(help="A resource_url or a presigned subject.")],
    via: Annotated[str | None, typer.Option(help="http or nats; default: the shorter way.")] = None,
    columns: Annotated[str | None, typer.Option(help="Comma list of columns.")] = None,
    rows: Annotated[str | None, typer.Option(help="Comma list of row ids.")] = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="Of the output; default: by its ending, else json.")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A file; default: standard output.")] = None,
    csv_safe: Annotated[
        bool, typer.Option("--csv-safe", help="In CSV, put ' before text that a spreadsheet would run as a formula.")
    ] = False,
    json: Annotated[bool, Json] = False,
) -> None:
    """Pull a body. Exit 0 only for a verified read; a file appears only then."""

    async def work() -> None:
        if via not in (None, "http", "nats"):
            raise typer.BadParameter("--via is http or nats")
        selector = parse_selector_texts(columns, rows)
        async with Plane.connect() as plane:
            with bar("pull", quiet=json) as progress:
                done = await _pull(plane, address, selector, via, form, output, progress, csv_safe=csv_safe)
        if json:
            say_json({**done, "output": str(output) if output else None, "verified": True})

    run(work, at=address)


def ls(json: Annotated[bool, Json] = False) -> None:
    """List the bodies that are stored."""

    async def work() -> None:
        async with Plane.connect() as plane:
            bodies = await plane.bodies()
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
            await plane.delete(parse_body_id(body_id))
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
            async for body in plane.watch():
                if json:
                    say_json(_listed(body))
                else:
                    _say_body(body)

    run(work)


async def _publish(plane: Plane, file: str, form: Format, domains: list[str], options: dict[str, Any]) -> Published:
    if form is not Format.bytes:
        with _source(file) as source:
            rows = await anyio.to_thread.run_sync(read_rows, source, form)
            return await plane.publish(rows, abstract=domains, **options)
    if file != "-":
        return await plane.publish(Path(file), **options)
    if "feed" in options:
        return await plane.publish(b"".join([piece async for piece in _stdin()]), **options)
    return await plane.publish_pieces(_stdin(), **options)


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _source(file: str) -> BinaryIO:
    return sys.stdin.buffer if file == "-" else Path(file).open("rb")


async def _pull(
    plane: Plane,
    address: str,
    selector: Selector,
    via: Any,
    form: Format | None,
    output: Path | None,
    progress: Any,
    *,
    csv_safe: bool,
) -> dict[str, Any]:
    wanted = form or (format_of(output.name, None) if output else None)
    if csv_safe and wanted is not Format.csv:
        raise typer.BadParameter("--csv-safe is of CSV: give --format csv as well")
    async with plane.open(address, selector, via) as incoming:
        with _sink(output) as file:
            if incoming.kind == "bytes" or wanted is Format.bytes:
                size = 0
                async for piece in body_of(incoming, selector, progress):
                    size += file.write(piece)
                digest = {"digest": f"sha256:{incoming.digest}"} if incoming.digest else {}
                return {"kind": incoming.kind, "size": size, **digest}
            rows = _rows(incoming, selector, progress)
            count = await write_rows(rows, wanted or Format.json, file, csv_safe=csv_safe)
            return {"kind": "rows", "rows": count, "format": (wanted or Format.json).value}


async def _rows(incoming: Incoming, selector: Selector, progress: Any) -> AsyncGenerator[dict[str, Any], None]:
    done = 0
    async with aclosing(frames_of(incoming, selector)) as frames:
        async for frame in frames:
            for row in frame.rows():
                yield row
            done += len(frame)
            progress(done, incoming.rows)


@contextmanager
def _sink(output: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that is there only if the block succeeded."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = output.with_name(output.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    part.replace(output)


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
        "abstract": published.abstract,
    }
    if published.notice is not None:
        fields |= {"feed": published.notice.feed, "version": published.version}
    return fields | ({"abstract_truncated": True, "summary": published.summary} if published.abstract_truncated else {})


def _say_published(published: Published, domains: list[str]) -> None:
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
    for row in (
        published.abstract[:20] if any(len(row) > 1 for row in published.abstract[:1]) else ()
    ):  # else there are row ids alone
        abstract.print(orjson.dumps(row, default=str).decode())


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
