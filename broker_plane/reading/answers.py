"""The answers to readers: a part of a body as text, and a description of a body. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from broker_plane.errors import WireError

Unit = Literal["rows", "lines", "bytes", "json"]
Kind = Literal["table", "text", "json", "bytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadAnswer:
    """A part of a body. `text` has `count` units, the first of which is number `first` (0 with a `count` of 0)."""

    text: str
    unit: Unit
    first: int
    count: int
    total: int | None
    """Units in all: what the grant shows, or what matched. None if finding out would need the rest of the body."""
    next: str | None = None
    """The argument that goes on from here, such as `page=2` or `rows=120-`; None at the end."""
    cut: bool = False
    """Whether something is shortened or left out: `text` then has a mark where."""

    def to_wire(self) -> dict[str, Any]:
        """The JSON object that `read_answer` reads."""
        return {
            "text": self.text,
            "unit": self.unit,
            "first": self.first,
            "count": self.count,
            "total": self.total,
            "next": self.next,
            "cut": self.cut,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyDescription:
    """What a body is. `facts` has numbers by name, `columns` one object per column, `outline` or `shape` lines of text.

    docs/reading.md lists the members for each kind.
    """

    kind: Kind
    media_type: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    columns: tuple[Mapping[str, Any], ...] = ()
    outline: tuple[str, ...] = ()

    def to_wire(self) -> dict[str, Any]:
        """The JSON object that `description_of` reads."""
        listed = {"columns": [dict(column) for column in self.columns], "outline": list(self.outline)}
        return {"kind": self.kind, "media_type": self.media_type, **self.facts} | {
            name: value for name, value in listed.items() if value
        }


def read_answer(fields: Any) -> ReadAnswer:
    """The answer that `to_wire` encoded.

    Raises:
        WireError: the fields are no such answer.
    """
    try:
        answer = ReadAnswer(**{name: fields[name] for name in ReadAnswer.__slots__})
    except (KeyError, TypeError) as error:
        raise WireError("The answer is not a part of a body") from error
    numbers = (answer.first, answer.count)
    if not (
        isinstance(answer.text, str)
        and answer.unit in get_args(Unit)
        and all(type(number) is int for number in numbers)
        and (answer.total is None or type(answer.total) is int)
        and (answer.next is None or isinstance(answer.next, str))
        and isinstance(answer.cut, bool)
    ):
        raise WireError("The answer is not a part of a body")
    return answer


def description_of(fields: Any) -> BodyDescription:
    """The description that `to_wire` encoded.

    Raises:
        WireError: the fields are no description.
    """
    if not isinstance(fields, dict) or fields.get("kind") not in get_args(Kind):
        raise WireError("The answer is not a description of a body")
    columns, outline, media_type = fields.get("columns", []), fields.get("outline", []), fields.get("media_type")
    if not (
        isinstance(media_type, str)
        and isinstance(columns, list)
        and all(isinstance(column, dict) for column in columns)
        and isinstance(outline, list)
        and all(isinstance(line, str) for line in outline)
    ):
        raise WireError("The answer is not a description of a body")
    facts = {name: value for name, value in fields.items() if name not in ("kind", "media_type", "columns", "outline")}
    return BodyDescription(
        kind=fields["kind"], media_type=media_type, facts=facts, columns=tuple(columns), outline=tuple(outline)
    )
