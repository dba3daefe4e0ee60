"""A pipeline of three stages hands one artifact on, and goes back once.

The table has a JSON Schema as its validator, and a change that does not fit it is reverted. A change that fits and is
wrong is found by the next stage, which goes back to the revision before it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from broker_plane.errors import BrokerPlaneError

from .collab_cast import Member, Story, Told, entry_of, note_of

if TYPE_CHECKING:
    from broker_plane import JoinedSession

RAW: list[dict[str, Any]] = [
    {"station": "Oslo", "celsius": 4},
    {"station": "Rome", "celsius": 21},
    {"station": "Lima", "celsius": 18},
]
SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["station", "celsius"],
        "properties": {"celsius": {"type": "number"}, "fahrenheit": {"type": "number"}},
    },
}


async def extract(session: JoinedSession) -> None:
    """The first stage writes the rows."""
    draft = await session.read()
    await session.propose(draft, "extract", None, {"value": RAW}, message="Three stations")
    await session.note("decision", "extracted")
    await session.confirm()


async def enrich(session: JoinedSession) -> None:
    """The second stage adds a column: first as texts, which the schema refuses, then with a wrong formula."""
    await note_of(session, "decision", "extract")
    rows = (await session.read()).value
    with suppress(BrokerPlaneError):
        await _with_column(session, [f"{row['celsius'] * 9 / 5 + 32} F" for row in rows])
    await _with_column(session, [row["celsius"] * 9 / 5 for row in rows])
    await session.note("decision", "enriched")
    back = await note_of(session, "question", "format")
    await entry_of(session, "rolled_back", "format")
    await _with_column(session, [row["celsius"] * 9 / 5 + 32 for row in rows])
    await session.note("answer", "The 32 was missing.", thread=str(back["thread"]))
    await session.confirm()


async def _with_column(session: JoinedSession, values: list[Any]) -> None:
    draft = await session.read()
    rows = [{**row, "fahrenheit": value} for row, value in zip(draft.value, values, strict=True)]
    await session.propose(draft, "enrich", None, {"value": rows}, message="Add Fahrenheit")


async def format_(session: JoinedSession) -> None:
    """The third stage checks what it gets, goes back to the first stage's revision, and at last sorts the rows."""
    first = await entry_of(session, "operation", "extract")
    await note_of(session, "decision", "enrich")
    rows = (await session.read()).value
    if rows[0]["fahrenheit"] < 32 < 32 + rows[0]["celsius"]:
        note = await session.note(
            "question", "4 °C is above freezing and 7.2 °F is not?", region={"path": "/0/fahrenheit"}
        )
        await session.rollback(first.revision)
        await note_of(session, "answer", "enrich", thread=note)
    draft = await session.read()
    ordered = sorted(draft.value, key=lambda row: str(row["station"]))
    await session.propose(draft, "format", None, {"value": ordered}, message="Sort by station")
    await session.confirm()


def check(told: Told) -> list[str]:
    """What is wrong: the values and their order, one revert by the validator, and one rollback to the first stage."""
    problems = []
    expected = [
        {**row, "fahrenheit": row["celsius"] * 9 / 5 + 32} for row in sorted(RAW, key=lambda row: str(row["station"]))
    ]
    if told.value != expected:
        problems.append("The table is not what the three stages make")
    if len(told.of("reverted")) != 1:
        problems.append("The validator did not revert the texts, or more than those")
    back = [each.content["to"] for each in told.of("rolled_back")]
    if not back or back != [each.revision for each in told.of("operation", "extract")]:
        problems.append("The third stage did not go back to the first one's revision")
    return problems


STORY = Story(
    name="pipeline",
    title="A pipeline of three stages hands one artifact on, and goes back once",
    kind="table",
    sync="patch",
    value=[],
    policy={"expected": ["extract", "enrich", "format"], "validators": [{"json_schema": SCHEMA}]},
    cast=(
        Member("extract", "editor", "extract"),
        Member("enrich", "editor", "enrich"),
        Member("format", "editor", "format", via="nats"),
    ),
    parts={"extract": extract, "enrich": enrich, "format": format_},
    check=check,
)
