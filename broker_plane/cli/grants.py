"""The command grant: create a grant for a body, or narrow an existing grant."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from broker_plane.cli.console import Json, out, run, say_json, when
from broker_plane.cli.grant_uses import say_uses, uses_or_unlimited, uses_text
from broker_plane.cli.option_types import size, uses, whole_time
from broker_plane.errors import WireError
from broker_plane.runtime.narrowing import Narrowed, Narrowing
from broker_plane.runtime.plane import Plane
from broker_plane.wire.column_names import NAMES_HELP, parse_names
from broker_plane.wire.names import BodyId, parse_body_id


def grant(
    address: Annotated[
        str, typer.Argument(help="A resource_url, a presigned subject, or the id of a body of this owner.")
    ],
    columns: Annotated[str | None, typer.Option(help=f"Columns that the grant shows, as {NAMES_HELP}.")] = None,
    rows: Annotated[str | None, typer.Option(help="Row ids and ranges that the grant shows: 0-99,200.")] = None,
    first: Annotated[
        int | None, typer.Option(help="Maximum number of rows, after the other conditions.", min=0)
    ] = None,
    where: Annotated[str | None, typer.Option(help="Condition for rows: severity >= 3 and area in ('CA').")] = None,
    uses: Annotated[Any, uses("Completed deliveries; unlimited only for a body of this owner.")] = None,
    ttl: Annotated[
        int | None, whole_time("Lifetime, such as 600 or 10m; no longer than that of the given grant.")
    ] = None,
    audience: Annotated[str | None, typer.Option(help="Name of the only client that may pull.")] = None,
    max_bytes: Annotated[int | None, size("Maximum size of a delivery, such as 500 or 10MB.")] = None,
    formats: Annotated[str | None, typer.Option(help="Permitted media types (comma-separated).")] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """Print a narrower grant than the given one, or a new grant for a body of this owner.

    Example: broker-plane grant URL --columns event,area --where "severity >= 3" --ttl 10m --uses 5
    """

    async def work() -> None:
        less = Narrowing(
            columns=None if columns is None else parse_names(columns),
            rows=rows,
            first=first,
            where=where,
            ttl=ttl,
            uses=uses,
            audience=audience,
            max_bytes=max_bytes,
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
            about = {
                "resource_url": made.resource_url,
                "subject": offered,
                "expires": when(made.expires),
                "uses": uses_text(made.grant),
            }
            out.result(made.resource_url, about)
            say_uses(made.grant)

    run(work)


def _fields(made: Narrowed, subject: str | None) -> dict[str, Any]:
    return {
        "resource_url": made.resource_url,
        "subject": subject,
        "grant_id": made.grant_id,
        "scope": made.scope,
        "expires": made.expires,
        "uses": uses_or_unlimited(made.grant),
    }


def _body_id(text: str) -> BodyId | None:
    try:
        return parse_body_id(text)
    except WireError:
        return None


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]
