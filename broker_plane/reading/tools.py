"""The tools with which an agent reads on, without an SDK: `PlaneServer`, the proxy and others register them.

Each takes its arguments in the spellings that models use (wire/slips.py) and answers with one text. A tool costs no use
of a grant: the bridge charges it as a preview (docs/decisions/0046).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from broker_plane.reading.answers import BodyDescription, Kind, ReadAnswer
from broker_plane.reading.query_tool import QUERY_BODY
from broker_plane.reading.tool_arguments import address_of, read_arguments
from broker_plane.reading.tool_record import ReadingTool as ReadingTool
from broker_plane.reading.tool_record import ToolAnswer as ToolAnswer
from broker_plane.reading.tool_texts import description_text, read_text

PREFIX = "plane_"
"""Before the name of a tool where another tool has that name already."""


class ReadingPlane(Protocol):
    """The plane that a tool reads with: `broker_plane.Plane`."""

    async def read(self, address: str, **what: Any) -> ReadAnswer: ...

    async def describe(self, address: str) -> BodyDescription: ...


async def _read(plane: ReadingPlane, arguments: Mapping[str, Any]) -> str:
    address, what = read_arguments(arguments)
    return read_text(await plane.read(address, **what))


async def _describe(plane: ReadingPlane, arguments: Mapping[str, Any]) -> str:
    return description_text(await plane.describe(address_of(arguments)))


READ_BODY = ReadingTool(
    name="read_body",
    title="Read part of a body",
    description=(
        "Read part of what a resource_url holds; spends no use. Give one of page, rows ('10-20', '3,7'), head, tail, "
        "grep (regular expression), json_path ('$.items[0:5].id'). where ('n >= 3 and area in (''CA'')') and columns "
        "narrow a table."
    ),
    input_schema={
        "type": "object",
        "properties": {
            "resource_url": {"type": "string"},
            "page": {"type": "integer"},
            "rows": {"type": "string"},
            "head": {"type": "integer"},
            "tail": {"type": "integer"},
            "grep": {"type": "string"},
            "json_path": {"type": "string"},
            "where": {"type": "string"},
            "columns": {"type": "array", "items": {"type": "string"}},
            "max_tokens": {"type": "integer", "default": 2000},
        },
        "required": ["resource_url"],
    },
    run=_read,
)

DESCRIBE_BODY = ReadingTool(
    name="describe_body",
    title="Describe a body",
    description=(
        "What a resource_url holds; spends no use. A table: columns with types, nulls, distinct values, min, max, "
        "examples. A text: lines and outline. JSON: its shape."
    ),
    input_schema={
        "type": "object",
        "properties": {"resource_url": {"type": "string"}},
        "required": ["resource_url"],
    },
    run=_describe,
)

_TOOLS: tuple[ReadingTool, ...] = (READ_BODY, DESCRIBE_BODY, QUERY_BODY)


def reading_tools() -> tuple[ReadingTool, ...]:
    """All tools, in the order in which they are listed."""
    return _TOOLS


def next_step(subject: str, kind: Kind, names: Collection[str]) -> str:
    """One sentence or two for the model: what was held back, and what to do next.

    `subject` is a noun phrase such as "24,000 rows of 19 columns". `names` are the tools that are there, also with
    `PREFIX`; no other tool is named.
    """
    return with_readers(f"{subject}. {_HAND} to a tool that takes it.", kind, names)


def with_readers(said: str, kind: Kind, names: Collection[str]) -> str:
    """A `next_step` that names no reading tool, with those of `names`; as it is if there are none, or it names one."""
    calls = [f"{found}({arguments})" for tool, arguments in _CALLS[kind] if (found := _named(tool, names))]
    if not calls or any(tool.name in said for tool in _TOOLS):
        return said
    read_on = f"To read on: {' or '.join(calls)}"
    before, found, after = said.partition(_HAND)
    return f"{before}{read_on}; or hand resource_url{after}" if found else f"{said} {read_on}."


_HAND = "Hand resource_url"

_CALLS: dict[Kind, tuple[tuple[str, str], ...]] = {
    "table": (("query_body", "sql, bodies={'a': resource_url}"), ("read_body", "resource_url, where=…")),
    "text": (("read_body", "resource_url, grep=…"), ("describe_body", "resource_url")),
    "json": (("read_body", "resource_url, json_path='$.…'"), ("describe_body", "resource_url")),
    "bytes": (("describe_body", "resource_url"),),
}
"""By kind: the tools that read it on, the best first, and how they are called."""


def _named(tool: str, names: Collection[str]) -> str:
    """The name under which `tool` is there; empty if it is not."""
    return next((name for name in (tool, PREFIX + tool) if name in names), "")
