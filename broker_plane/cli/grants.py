"""The commands about grants: mint one, or narrow one that somebody gave."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from broker_plane.cli.say import Json, out, run, say_json
from broker_plane.errors import WireError
from broker_plane.runtime.connect import Plane
from broker_plane.runtime.narrowing import Less, Narrowed
from broker_plane.wire.column_names import NAMES_HELP, parse_names
from broker_plane.wire.names import BodyId, parse_body_id


def grant(
    address: Annotated[str, typer.Argument(help="A resource_url, a presigned subject, or the id of an own body.")],
    columns: Annotated[str | None, typer.Option(help=f"Columns that it shows, as {NAMES_HELP}.")] = None,
    rows: Annotated[str | None, typer.Option(help="Row ids and ranges that it shows: 0-99,200.")] = None,
    first: Annotated[int | None, typer.Option(help="At most so many of the rows that are left.", min=0)] = None,
    where: Annotated[str | None, typer.Option(help="Rows that it shows: severity >= 3 and area in ('CA').")] = None,
    uses: Annotated[str | None, typer.Option(help="Completed deliveries, or unlimited (for an own body).")] = None,
    ttl: Annotated[int | None, typer.Option(help="Seconds that it lives, at most as long as before.", min=1)] = None,
    audience: Annotated[str | None, typer.Option(help="Only for the puller of this name.")] = None,
    most_bytes: Annotated[int | None, typer.Option("--bytes", help="Most bytes of one delivery.", min=0)] = None,
    formats: Annotated[str | None, typer.Option(help="Comma list of media types.")] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """Print a grant that shows less than the one that is given, or a new one for a body of this owner."""

    async def work() -> None:
        less = Less(
            columns=None if columns is None else parse_names(columns),
            rows=rows,
            first=first,
            where=where,
            ttl=ttl,
            uses=_uses(uses),
            audience=audience,
            bytes=most_bytes,
            formats=_names(formats),
        )
        async with Plane.connect() as plane:
            body = _body_id(address)
            made = await plane.narrowed_known(address, less) if body is None else await plane.mint(body, less)
            offered = made.subject if plane.offers_subjects else None
        if json:
            say_json(_fields(made, offered))
        else:
            for line in filter(None, (made.resource_url, offered)):
                out.print(line, soft_wrap=True)

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


def _uses(text: str | None) -> int | None:
    if text is None or text.isdigit():
        return None if text is None else int(text)
    if text != "unlimited":
        raise typer.BadParameter("--uses is a number or unlimited")
    return 0
