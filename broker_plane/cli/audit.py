"""The commands revoke and audit: withdraw a grant, and see how grants were used."""

from __future__ import annotations

from typing import Annotated

import typer

from broker_plane.cli.console import Json, note, out, run, say_json, when
from broker_plane.runtime.plane import Plane
from broker_plane.wire.audit import AuditEntry
from broker_plane.wire.grant import grant_of, peek
from broker_plane.wire.names import parse_body_id

_HEADINGS = ("grant", "at", "event", "via", "client", "columns", "rows", "bytes", "")
NARROWED = "This includes all grants narrowed from it, and those that it was narrowed from."


def revoke(
    grant: Annotated[str, typer.Argument(help="A resource_url, a presigned subject, or a grant id.")],
    json: Annotated[bool, Json] = False,
) -> None:
    """Revoke a grant: every bridge refuses further pulls and cuts running ones.

    A grant and all grants narrowed from it have the same id and are revoked together. Clients keep what they have
    already received; `broker-plane audit` shows what that was. To withdraw a body from everybody, use
    `broker-plane delete`.

    Example: broker-plane revoke http://127.0.0.1:8787/s2sp/data/<grant>
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
    body_id: Annotated[
        str,
        typer.Argument(
            help="Id of the body, as printed by publish and ls, or a resource_url of it. It may be deleted."
        ),
    ],
    json: Annotated[bool, Json] = False,
) -> None:
    """List every grant of a body, who pulled what with it and how that ended, oldest first.

    Entries appear within a second and are kept for BROKER_PLANE_AUDIT_RETENTION_DAYS. They contain the ids of grants
    (which `broker-plane revoke` accepts), never the grants themselves.

    Example: broker-plane audit 4fQ2mZp0Rk6d1sVxYwBn9A
    """

    async def work() -> None:
        body = peek(grant_of(body_id)).body if "/" in body_id or "." in body_id else parse_body_id(body_id)
        async with Plane.connect() as plane:
            entries = await plane.bodies.audit(body)
        if json:
            say_json([entry.to_wire() for entry in entries])
        elif not entries:
            note("The audit log has no entries for this body.")
        else:
            out.table(_HEADINGS, map(_row, entries), box=False)

    run(work)


def _row(entry: AuditEntry) -> tuple[object, ...]:
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


def _remark(entry: AuditEntry) -> str:
    remarks = [entry.code] if entry.code else []
    if entry.uses is not None:
        remarks.append(f"{entry.uses or 'unlimited'} uses")
    if entry.times > 1:
        remarks.append(f"{entry.times} times" if entry.what == "denied" else f"{entry.times} windows")
    return ", ".join(remarks)
