"""The texts of the reading tools' results: what was read, and one line on how to go on. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from broker_plane.reading.answers import BodyDescription, ReadAnswer
from broker_plane.tabular.json_values import json_bytes

_NOUNS = {"rows": "row", "lines": "line", "bytes": "byte", "json": "value"}


def read_text(answer: ReadAnswer) -> str:
    """The part that was read, and a last line that says which part it is and what to pass to go on."""
    return "\n".join(filter(None, (answer.text.rstrip("\n"), f"[{place_text(answer)}]")))


def place_text(answer: ReadAnswer) -> str:
    """Which part of the body an answer has, and how to go on."""
    noun = _NOUNS[answer.unit]
    whole = "" if answer.total is None else f" of {answer.total:,}"
    if not answer.count:
        found = f"no {noun}s{whole}"
    elif answer.count == 1:
        found = f"1 {noun}{whole}, number {answer.first}"
    else:
        found = f"{answer.count:,} {noun}s{whole}, from number {answer.first}"
    more = [] if answer.next is None else [f"next: {answer.next}"]
    return "; ".join([found, *(["shortened at …"] if answer.cut else []), *more])


def description_text(described: BodyDescription) -> str:
    """A description, one fact or column a line."""
    return "\n".join(_described(described))


def _described(described: BodyDescription) -> Iterator[str]:
    facts = ", ".join(f"{name.replace('_', ' ')} {_value(value)}" for name, value in described.facts.items())
    media_type = "" if described.kind == "table" else f" ({described.media_type})"
    yield f"{described.kind}{media_type}: {facts}"
    for column in described.columns:
        yield _column(column)
    yield from described.outline


def _column(column: Mapping[str, Any]) -> str:
    said = [f"{name} {_value(value)}" for name, value in column.items() if name not in ("name", "type")]
    return f"- {column.get('name')}: {column.get('type')}" + (f"; {', '.join(said)}" if said else "")


def _value(value: Any) -> str:
    if type(value) is int:
        return str(value)
    return value if isinstance(value, str) else json_bytes(value).decode()
