"""The commands about grants: mint one, or narrow one that somebody gave."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from broker_plane.cli.flags import size, whole_time
from broker_plane.cli.say import Json, out, run, say_json, when
from broker_plane.errors import WireError
from broker_plane.runtime.arguments import Uses
from broker_plane.runtime.narrowing import Narrowed, Narrowing
from broker_plane.runtime.plane import Plane
from broker_plane.wire.column_names import NAMES_HELP, parse_names
from broker_plane.wire.names import BodyId, parse_body_id

MOST_USES = 65_535


def grant(
    address: Annotated[str, typer.Argument(help="A resource_url, a presigned subject, or the id of an own body.")],
    columns: Annotated[str | None, typer.Option(help=f"Columns that it shows, as {NAMES_HELP}.")] = None,
    rows: Annotated[str | None, typer.Option(help="Row ids and ranges that it shows: 0-99,200.")] = None,
    first: Annotated[int | None, typer.Option(help="At most so many of the rows that are left.", min=0)] = None,
    where: Annotated[str | None, typer.Option(help="Rows that it shows: severity >= 3 and area in ('CA').")] = None,
    uses: Annotated[str | None, typer.Option(help="Completed deliveries, or unlimited (for an own body).")] = None,
    ttl: Annotated[int | None, whole_time("How long it lives, as 600 or 10m; at most as long as before.")] = None,
    audience: Annotated[str | None, typer.Option(help="Only for the puller of this name.")] = None,
    most_bytes: Annotated[int | None, size("Most bytes of one delivery, as 500 or 10MB.", "--bytes")] = None,
    formats: Annotated[str | None, typer.Option(help="Comma list of media types.")] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """Print a grant that shows less than the one that is given, or a new one for a body of this owner.

    broker-plane grant URL --columns event,area --where "severity >= 3" --ttl 10m --uses 5
    """

    async def work() -> None:
        less = Narrowing(
            columns=None if columns is None else parse_names(columns),
            rows=rows,
            first=first,
            where=where,
            ttl=ttl,
            uses=_uses(uses),
            audience=audience,
            max_bytes=most_bytes,
            formats=_names(formats),
        )
        async with Plane.connect() as plane:
            body = _body_id(address)
            made = (
                await plane.grants.narrow_checked(address, less)
                if body is None
                else await plane.grants.mint(body, less)
            )
            offered = made.subject if plane.offers_subjects else None
        if json:
            say_json(_fields(made, offered))
        else:
            about = {"resource_url": made.resource_url, "subject": offered, "expires": when(made.expires)}
            out.result(made.resource_url, about)

    run(work)


def _fields(made: Narrowed, subject: str | None) -> dict[str, Any]:
    return {
        "resource_url": made.resource_url,
        "subject": subject,
        "grant_id": made.grant_id,
        "scope": made.scope,
        "expires": made.expires,
    }


def _body_id(text: str) -> BodyId | None:
    try:
        return parse_body_id(text)
    except WireError:
        return None


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _uses(text: str | None) -> Uses | None:
    if text is None or (text.isascii() and text.isdigit()):
        return None if text is None else _within(int(text))
    if text != "unlimited":
        raise typer.BadParameter("--uses is a number or unlimited")
    return "unlimited"


def _within(uses: int) -> int:
    if uses > MOST_USES:
        raise typer.BadParameter(f"--uses is at most {MOST_USES:,}, or unlimited")
    return uses
