"""The commands about what was granted: revoke it, and see who did what with it."""

from __future__ import annotations

from typing import Annotated

import typer

from broker_plane.cli.say import Json, note, out, run, say_json, when
from broker_plane.runtime.plane import Plane
from broker_plane.wire.audit import Entry
from broker_plane.wire.names import parse_body_id

_HEADINGS = ("grant", "at", "what", "way", "asker", "columns", "rows", "bytes", "")
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
            out.print(f"Revoked {revoked.grant_id}. {NARROWED}")

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
            entries = await plane.bodies.audit(asked)
        if json:
            say_json([entry.to_wire() for entry in entries])
        elif not entries:
            note("Nothing is noted of this body.")
        else:
            out.table(_HEADINGS, map(_row, entries), box=False)

    run(work)


def _row(entry: Entry) -> tuple[object, ...]:
    columns = "all" if entry.columns is None else ", ".join(entry.columns)
    return (
        entry.grant_id,
        when(entry.at),
        entry.what,
        entry.way,
        entry.asker,
        columns if entry.what == "pulled" else "",
        entry.rows,
        entry.bytes,
        _remark(entry),
    )


def _remark(entry: Entry) -> str:
    told = [entry.code] if entry.code else []
    if entry.uses is not None:
        told.append(f"{entry.uses or 'unlimited'} uses")
    if entry.times > 1:
        told.append(f"{entry.times} times" if entry.what == "denied" else f"{entry.times} windows")
    return ", ".join(told)
