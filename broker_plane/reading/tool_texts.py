"""The texts of the reading tools' results: what was read, and one line on how to go on. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from broker_plane.reading.answers import Description, ReadAnswer
from broker_plane.tabular.json_values import json_bytes

_NOUNS = {"rows": "row", "lines": "line", "bytes": "byte", "json": "result"}


def read_text(answer: ReadAnswer) -> str:
    """The part that was read, and a last line that says which part it is and what to pass to go on."""
    return "\n".join(filter(None, (answer.text.rstrip("\n"), f"[{_place(answer)}]")))


def description_text(described: Description) -> str:
    """A description, one fact or column a line."""
    return "\n".join(_described(described))


def _place(answer: ReadAnswer) -> str:
    noun = _NOUNS[answer.unit]
    whole = "" if answer.total is None else f" of {answer.total:,}"
    if not answer.count:
        found = f"no {noun}s{whole}"
    elif answer.count == 1:
        found = f"1 {noun}{whole}, number {answer.first}"
    else:
        found = f"{answer.count:,} {noun}s{whole}, from number {answer.first}"
    more = [] if answer.next is None else [f"next: {answer.next}"]
    return "; ".join([found, *(["cut at …"] if answer.cut else []), *more])


def _described(described: Description) -> Iterator[str]:
    facts = ", ".join(f"{name}: {_value(value)}" for name, value in described.facts.items())
    yield f"{described.kind} ({described.media_type})" + (f"; {facts}" if facts else "")
    for column in described.columns:
        yield _column(column)
    yield from described.outline


def _column(column: Mapping[str, Any]) -> str:
    said = [f"{name} {_value(value)}" for name, value in column.items() if name not in ("name", "type")]
    return f"- {column.get('name')}: {column.get('type')}" + (f", {', '.join(said)}" if said else "")


def _value(value: Any) -> str:
    if type(value) is int:
        return f"{value:,}"
    return value if isinstance(value, str) and value.isidentifier() else json_bytes(value).decode()
