"""The command grant: create a grant for a body, or narrow an existing grant."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from broker_plane.cli.console import Json, run
from broker_plane.cli.narrowing_options import (
    Audience,
    Columns,
    First,
    Formats,
    Intent,
    MaxBytes,
    Participant,
    Role,
    Rows,
    Where,
    formats_in,
    say_grant,
)
from broker_plane.cli.option_types import uses, whole_time
from broker_plane.errors import WireError
from broker_plane.runtime.narrowing import Narrowing
from broker_plane.runtime.plane import Plane
from broker_plane.wire.column_names import parse_names
from broker_plane.wire.names import BodyId, parse_body_id


def grant(
    address: Annotated[
        str, typer.Argument(help="A resource_url, a presigned subject, or the id of a body of this owner.")
    ],
    columns: Columns = None,
    rows: Rows = None,
    first: First = None,
    where: Where = None,
    uses: Annotated[Any, uses("Completed deliveries; unlimited only for a body of this owner.")] = None,
    ttl: Annotated[
        int | None, whole_time("Lifetime, such as 600 or 10m; no longer than that of the given grant.")
    ] = None,
    audience: Audience = None,
    max_bytes: MaxBytes = None,
    formats: Formats = None,
    role: Role = None,
    intent: Intent = None,
    participant: Participant = None,
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
            formats=formats_in(formats),
            role=role,
            intent=intent,
            participant=participant,
        )
        async with Plane.connect() as plane:
            body = _body_id(address)
            made = (
                await plane.grants.narrow_checked(address, less)
                if body is None
                else await plane.grants.mint(body, less)
            )
            offered = made.subject if plane.offers_subjects else None
        say_grant(made, offered, chosen_uses=uses is not None, json=json)

    run(work)


def _body_id(text: str) -> BodyId | None:
    try:
        return parse_body_id(text)
    except WireError:
        return None
