"""The commands about what was granted: revoke it, and see who did what with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from broker_plane.cli.say import Json, out, run, say_json
from broker_plane.runtime.connect import Plane
from broker_plane.wire.audit import Entry
from broker_plane.wire.names import parse_body_id

NARROWED = "Every grant that was narrowed from it is revoked with it, and so are those it was narrowed from."


def revoke(
    grant: Annotated[str, typer.Argument(help="A resource_url, a presigned subject, or a grant id.")],
    json: Annotated[bool, Json] = False,
) -> None:
    """Take a grant back: the next pull is refused on every bridge, a running one is cut.

    A grant and everything that was narrowed from it have one id, and are revoked together. What a reader has taken, it
    has; `broker-plane audit` says what that was. To take a body back from everybody, `broker-plane delete` it.
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            revoked = await plane.revoke(grant)
        if json:
            fields = {"grant_id": revoked.grant_id, "body_id": revoked.body or None, "expires": revoked.expires}
            say_json({"revoked": True, **fields, "narrowed": "revoked with it"})
        else:
            out.print(f"Revoked {revoked.grant_id}. {NARROWED}", soft_wrap=True)

    run(work)


def audit(
    body_id: Annotated[str, typer.Argument(help="As publish and ls print it; the body may be gone.")],
    json: Annotated[bool, Json] = False,
) -> None:
    """List who was given a body's grants, who pulled what of it and how that ended, in order of time.

    Entries are written within a second of what they say, and are kept for BROKER_PLANE_AUDIT_DAYS. A grant itself is
    never in there: its id is, which `broker-plane revoke` takes.
    """

    async def work() -> None:
        asked = parse_body_id(body_id)
        async with Plane.connect() as plane:
            entries = await plane.audit(asked)
        if json:
            say_json([entry.to_wire() for entry in entries])
        elif not entries:
            out.print("Nothing is noted of this body.")
        else:
            out.print(_table(entries))

    run(work)


def _table(entries: list[Entry]) -> Table:
    table = Table("at", "what", "way", "asker", "grant", "columns", "rows", "bytes", "", box=None)
    for entry in entries:
        when = datetime.fromtimestamp(entry.at, UTC).astimezone().strftime("%m-%d %H:%M:%S.%f")[:-3]
        columns = "all" if entry.columns is None else ", ".join(entry.columns)
        table.add_row(
            when,
            entry.what,
            entry.way,
            entry.asker,
            entry.grant_id[:12],
            columns if entry.what == "pulled" else "",
            _count(entry.rows),
            _count(entry.bytes),
            _remark(entry),
        )
    return table


def _remark(entry: Entry) -> str:
    told = [entry.code] if entry.code else []
    if entry.uses is not None:
        told.append(f"{entry.uses or 'unlimited'} uses")
    if entry.times > 1:
        told.append(f"{entry.times} times" if entry.what == "denied" else f"{entry.times} windows")
    return ", ".join(told)


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"
