"""The commands read and describe: look into a body without pulling it."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer

from broker_plane.cli.console import Json, note, out, run, say_json
from broker_plane.reading.answers import ReadAnswer
from broker_plane.reading.tokens import DEFAULT_TOKENS, MOST_TOKENS
from broker_plane.reading.tool_texts import description_text, place_text
from broker_plane.runtime.plane import Plane
from broker_plane.wire.column_names import NAMES_HELP, parse_names, resolved

Address = Annotated[str, typer.Argument(help="A resource_url.")]


def read(
    address: Address,
    page: Annotated[int | None, typer.Option(help="Page to show, from 1: 50 rows or 100 lines.", min=1)] = None,
    rows: Annotated[
        str | None, typer.Option(help="Row ids, or lines of a text from 1: 10-20, 5, 3,7 or 30- (as many as fit).")
    ] = None,
    head: Annotated[int | None, typer.Option(help="Number of first rows or lines.", min=1)] = None,
    tail: Annotated[int | None, typer.Option(help="Number of last rows or lines.", min=1)] = None,
    grep: Annotated[str | None, typer.Option(help="Rows or lines that match this regular expression (RE2).")] = None,
    json_path: Annotated[str | None, typer.Option(help="Values of a JSON body: $.items[0:5].name.")] = None,
    where: Annotated[str | None, typer.Option(help="Condition for rows: severity >= 3 and area in ('CA').")] = None,
    columns: Annotated[str | None, typer.Option(help=f"Columns to show, as {NAMES_HELP}.")] = None,
    max_tokens: Annotated[
        int, typer.Option(help="Size of the answer in tokens of 4 bytes.", min=1, max=MOST_TOKENS)
    ] = DEFAULT_TOKENS,
    json: Annotated[bool, Json] = False,
) -> None:
    """Print a part of a body. It spends no use; a grant with a number of uses pays for what is shown out of its budget.

    Example: broker-plane read URL --where "severity >= 3" --columns event,area
    """

    async def work() -> None:
        what: dict[str, Any] = {"page": page, "rows": rows, "head": head, "tail": tail, "grep": grep}
        what |= {"json_path": json_path, "where": where, "max_tokens": max_tokens}
        if columns is not None:
            what["columns"] = resolved(parse_names(columns), ())
        async with Plane.connect() as plane:
            answer = await plane.read(address, **what)
        if json:
            say_json(answer.to_wire())
        else:
            _say(answer)

    run(work, at=address)


def describe(address: Address, json: Annotated[bool, Json] = False) -> None:
    """Print what a body is: columns with figures, the outline of a text, or the shape of JSON.

    It spends no use; a grant with a number of uses pays for it out of its budget, as for a reading.

    Example: broker-plane describe URL --json
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            described = await plane.describe(address)
        if json:
            say_json(described.to_wire())
        else:
            out.text(description_text(described))

    run(work, at=address)


def _say(answer: ReadAnswer) -> None:
    if answer.text:
        out.text(answer.text)
    name, _, value = (answer.next or "").partition("=")
    note(place_text(replace(answer, next=f"--{name} {value}" if name else None)))
