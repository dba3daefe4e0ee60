"""Records what the model reads and writes, and checks that it contains no value of a body."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from broker_plane.errors import LeakError
from broker_plane.tabular.json_values import json_bytes, json_value

TOKEN_BYTES = 4
"""The number of UTF-8 bytes counted as one token."""

SHORTEST = 4
"""Shorter values are not searched for, because finding them proves nothing: 0, true and CA occur everywhere."""


_MAX_NESTED = 4
_ESCAPE = re.compile(r'\\(?:u[0-9a-fA-F]{4}|["\\/bfnrt])')


@dataclass(frozen=True, slots=True)
class TranscriptEntry:
    """One text on the model's side, with its origin."""

    place: str
    text: str


class Transcript:
    """Everything the model read, in order, and what it wrote itself."""

    def __init__(self) -> None:
        self.entries: list[TranscriptEntry] = []

    def returned(self, tool: str, result: Any) -> None:
        self.entries.append(TranscriptEntry(f"result of {tool}", text_of(result)))

    def called(self, tool: str, arguments: Mapping[str, Any]) -> None:
        self.entries.append(TranscriptEntry(f"arguments of {tool}", text_of(arguments)))

    def said(self, place: str, text: Any) -> None:
        """Record what a framework passes to its model: a message, a request."""
        self.entries.append(TranscriptEntry(place, text_of(text)))

    @property
    def tokens(self) -> int:
        """Tokens of everything, at 4 UTF-8 bytes each."""
        return -(-sum(len(entry.text.encode()) for entry in self.entries) // TOKEN_BYTES)

    def assert_no_body_leaked(
        self, rows: Iterable[Mapping[str, Any]], abstract: Sequence[str], shortest: int = SHORTEST
    ) -> int:
        """Check that no entry contains a value of `rows` outside the `abstract` columns; returns how many were
        searched.

        Values are searched for as JSON text. Those of fewer than `shortest` characters, and those that also occur in
        the abstract, are left out, because they may occur by chance. If no value remains, the check fails as well.

        Raises:
            LeakError: names the entry, row and column, but not the value.
        """
        sought = _sought(rows, abstract, shortest)
        if not sought:
            raise LeakError("No value of the body is long enough to search for, so this check would prove nothing")
        for entry in self.entries:
            readings = _readings(entry.text)
            for text, (number, column) in sought.items():
                if any(text in reading for reading in readings):
                    raise LeakError(f"{entry.place} shows column {column!r} of row {number} to the model")
        return len(sought)


def _sought(rows: Iterable[Mapping[str, Any]], abstract: Sequence[str], shortest: int) -> dict[str, tuple[int, str]]:
    """The values to search for, each with the row and the column of its first occurrence."""
    shown: set[str] = set()
    hidden: dict[str, tuple[int, str]] = {}
    for number, row in enumerate(rows):
        for column, value in row.items():
            texts = list(_leaves(value))
            if column in abstract:
                shown.update(texts)
                continue
            for text in (text for text in texts if len(text) >= shortest):
                hidden.setdefault(text, (number, column))
    everything = "\n".join(shown)
    return {text: place for text, place in hidden.items() if text not in everything}


def text_of(value: Any) -> str:
    """The text that a model would read of a result or message."""
    if isinstance(value, str):
        return value
    if isinstance(value, BaseModel):
        return json.dumps(value.model_dump(mode="json", by_alias=True, exclude_none=True), ensure_ascii=False)
    try:
        return json_bytes(_plain(value)).decode()
    except (TypeError, ValueError):
        return repr(value)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(value, Mapping):
        return {str(name): _plain(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(member) for member in value]
    return vars(value) if hasattr(value, "__dict__") and not callable(value) else value


def _leaves(value: Any) -> Iterator[str]:
    """The scalars of a value as texts."""
    value = json_value(value)
    if isinstance(value, Mapping):
        for member in value.values():
            yield from _leaves(member)
    elif isinstance(value, list):
        for member in value:
            yield from _leaves(member)
    elif value is not None and not isinstance(value, bool):
        yield value if isinstance(value, str) else json.dumps(value)


def _readings(text: str) -> list[str]:
    """The text, and the text with nested JSON escapes resolved, so that an escaped value is found as well."""
    found = [text]
    while "\\" in found[-1] and len(found) <= _MAX_NESTED:
        undone = _ESCAPE.sub(lambda escape: str(json.loads(f'"{escape[0]}"')), found[-1])
        found.append(undone.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    return found
