"""The options that limit a grant, which several commands have, and what such a command prints."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from broker_plane.cli.console import out, say_json, when
from broker_plane.cli.grant_uses import say_uses, uses_or_unlimited, uses_text
from broker_plane.cli.option_types import size
from broker_plane.runtime.narrowing import Narrowed
from broker_plane.wire.column_names import NAMES_HELP

Columns = Annotated[str | None, typer.Option(help=f"Columns that the grant shows, as {NAMES_HELP}.")]
Rows = Annotated[str | None, typer.Option(help="Row ids and ranges that the grant shows: 0-99,200.")]
First = Annotated[int | None, typer.Option(help="Maximum number of rows, after the other conditions.", min=0)]
Where = Annotated[str | None, typer.Option(help="Condition for rows: severity >= 3 and area in ('CA').")]
Audience = Annotated[str | None, typer.Option(help="Name of the only client that may pull.")]
MaxBytes = Annotated[int | None, size("Maximum size of a delivery, such as 500 or 10MB.")]
Role = Annotated[str | None, typer.Option(help="Role in a session: editor, reviewer or observer.")]
Intent = Annotated[str | None, typer.Option(help="Intent in a session, such as refactor; it cannot be changed.")]
Participant = Annotated[str | None, typer.Option(help="Name in a session; it cannot be changed.")]
Formats = Annotated[str | None, typer.Option(help="Permitted media types (comma-separated).")]


def formats_in(text: str | None) -> list[str] | None:
    """The media types of `--formats`."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def say_grant(made: Narrowed, subject: str | None, *, chosen_uses: bool, json: bool) -> None:
    """Print a grant: its URL alone in a pipe. `subject` is its presigned subject, if that may be handed on.

    `chosen_uses` says that the user set the uses.
    """
    if json:
        say_json(_fields(made, subject))
        return
    about = {
        "resource_url": made.resource_url,
        "subject": subject,
        "expires": when(made.expires),
        "uses": uses_text(made.grant, chosen=chosen_uses),
    }
    out.result(made.resource_url, about)
    say_uses(made.grant, chosen=chosen_uses)


def _fields(made: Narrowed, subject: str | None) -> dict[str, Any]:
    return {
        "resource_url": made.resource_url,
        "subject": subject,
        "grant_id": made.grant_id,
        "scope": made.scope,
        "expires": made.expires,
        "uses": uses_or_unlimited(made.grant),
    }
