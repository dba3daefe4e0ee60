"""The two answers of the recogniser, and the names of the shapes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from broker_plane.errors import ConfigError

Row = dict[str, Any]

KINDS: tuple[str, ...] = (
    "rows",
    "envelope",
    "columns",
    "split",
    "records",
    "pandas-table",
    "geojson",
    "scalars",
    "tuples",
    "ndjson",
    "csv",
    "tsv",
    "markdown",
    "fence",
    "wrapped",
    "repr",
    "html",
)
"""The shapes of tables. In an answer, `fence` and `wrapped` are followed by the kind inside: `wrapped csv`."""

NEVER: tuple[str, ...] = ("text", "json")
"""The shapes that are never a table."""

SHAPES: tuple[str, ...] = ("auto", "table", *NEVER, *KINDS)
_AROUND = ("wrapped ", "fence ")


@dataclass(frozen=True, slots=True)
class Opaque:
    """Content that is not a table: exactly the bytes that it was."""

    raw: bytes
    media_type: str
    fields: dict[str, Any]
    """Small members that were beside the text in the structured content."""
    path: str


@dataclass(frozen=True, slots=True)
class Table:
    """A recognised table."""

    kind: str
    columns: tuple[str, ...]
    rows: list[Row]
    """A column that a row does not have is not a member of it."""
    path: str
    """The place: `text`, `content` (one row a text block), or a JSON pointer as in `structuredContent#/data/items`."""
    fields: dict[str, Any]
    """The small members beside the table, such as a row count or the cursor of the next page."""
    source: Opaque | None = None
    """The exact text that the table was read from, or the JSON of the structured content; None if the rows are all of
    it: a list of objects as structured content."""


@dataclass(frozen=True, slots=True)
class Found:
    """A table within a value or a text, before its values are typed. `pointer` is an RFC 6901 pointer into a value."""

    kind: str
    columns: Sequence[str]
    rows: list[Row] = field(default_factory=list)
    pointer: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    declared: Mapping[str, str] = field(default_factory=dict)
    """The types that the table itself declares, by column (declared_types.py)."""
    cells: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    """In place of rows: the texts of each column, whose types are to be found, as in CSV."""

    def below(self, pointer: str, fields: dict[str, Any] | None = None) -> Found:
        """The same table in a value that has this one at `pointer`, beside `fields`."""
        return replace(self, pointer=pointer + self.pointer, fields=joined(self.fields, fields or {}))


def joined(fields: Mapping[str, Any], outer: Mapping[str, Any]) -> dict[str, Any]:
    """The members beside a table, and those around both; a name of `outer` that is taken gets a number."""
    return {**fields, **{free(name, fields): member for name, member in outer.items()}}


def free(name: str, taken: Iterable[str]) -> str:
    """`name`, or the first of `name_2`, `name_3`, … that is not taken."""
    used, found, number = set(taken), name, 2
    while found in used:
        found, number = f"{name}_{number}", number + 1
    return found


def check_shape(shape: str) -> str:
    """The shape to look for: `csv` for `wrapped csv`, since a kind is found in wrappers and fences as well.

    Raises:
        ConfigError: there is no such shape.
    """
    inner = shape
    while inner.startswith(_AROUND):
        inner = inner.partition(" ")[2]
    if inner not in SHAPES:
        raise ConfigError(f"There is no shape {shape!r}; the shapes are: {', '.join(SHAPES)}")
    return inner


def parse_shape(text: str) -> tuple[str, str]:
    """The tool and the shape of `TOOL:SHAPE`.

    Raises:
        ConfigError: the text has another form, or there is no such shape.
    """
    tool, colon, shape = text.rpartition(":")
    if not (tool and colon and shape):
        raise ConfigError(f"--shape is TOOL:SHAPE, such as read_query:repr or read_file:text; {text!r} is not")
    check_shape(shape)
    return tool, shape
