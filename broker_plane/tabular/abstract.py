"""The abstract: the few columns that the model reads, and a summary by column where there are too many rows for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from broker_plane.errors import SelectorError
from broker_plane.tabular.frame import ABSENT, Frame
from broker_plane.tabular.json_values import json_value
from broker_plane.wire.exact_json import MALFORMED, loads

_MOST_DISTINCT = 10_000
_EXAMPLES = 5
_EXAMPLE_CHARACTERS = 80


class AbstractBuilder:
    """Frames in; `rows` are the first `limit` rows of the columns `domains`, `summary()` speaks of all of them.

    `domains` None is every column. `limit` None keeps every row.
    """

    def __init__(self, domains: Sequence[str] | None, limit: int | None) -> None:
        self.domains = domains
        self.rows: list[dict[str, Any]] = []
        self.total = 0
        self._limit = limit
        self._columns: dict[str, ColumnSummary] = {}

    @property
    def truncated(self) -> bool:
        return self.total > len(self.rows)

    def add(self, frame: Frame) -> None:
        room = len(frame) if self._limit is None else max(0, self._limit - self.total)
        self.total += len(frame)
        shown = frame if self.domains is None else _only(frame, self.domains)
        if room:
            first = Frame(
                {name: values[:room] for name, values in shown.columns.items()},
                frame.ids[:room],
                frame.ragged,
            )
            self.rows.extend(first.rows(with_ids=True))
        if self._limit is not None:
            for name, values in shown.columns.items():
                self._columns.setdefault(name, ColumnSummary()).add(values)

    def summary(self) -> dict[str, dict[str, Any]]:
        return {name: column.to_wire(self.total) for name, column in self._columns.items()}


class ColumnSummary:
    """Type, nulls, distinct values, least, greatest and examples of a column, in bounded memory."""

    def __init__(self) -> None:
        self.kinds: set[str] = set()
        self.present = 0
        self.least: Any = None
        self.greatest: Any = None
        self.ordered = True
        self.seen: set[Any] = set()
        self.examples: list[Any] = []

    def add(self, values: Sequence[Any]) -> None:
        if set(map(type, values)) == {str}:  # nothing in it is absent or no number, and each value counts once
            self.present += len(values)
            solid = list(dict.fromkeys(values))
        else:
            solid = [value for value in values if value is not None and value is not ABSENT and value == value]
            self.present += len(solid)
        if not solid:
            return
        self.kinds.update(kind.__name__ for kind in set(map(type, solid)))
        self._distinct(solid)
        self._extremes(solid)

    def to_wire(self, total: int) -> dict[str, Any]:
        over = len(self.seen) > _MOST_DISTINCT
        wire = {
            "type": "|".join(sorted(self.kinds)) or "null",
            "nulls": total - self.present,
            "distinct": f">{_MOST_DISTINCT}" if over else len(self.seen),
        }
        if self.ordered and self.present:
            wire["min"], wire["max"] = _short(self.least), _short(self.greatest)
        return wire | {"examples": self.examples}

    def _distinct(self, solid: list[Any]) -> None:
        if len(self.seen) > _MOST_DISTINCT:
            return
        try:
            once = list(dict.fromkeys(solid))
        except TypeError:  # lists and dicts have no hash
            once = solid
        for value in once:
            key = value if value.__hash__ else repr(value)
            if key not in self.seen:
                self.seen.add(key)
                if len(self.examples) < _EXAMPLES:
                    self.examples.append(_short(value))

    def _extremes(self, solid: list[Any]) -> None:
        if not self.ordered:
            return
        try:
            known = [] if self.least is None else [self.least, self.greatest]
            self.least, self.greatest = min(known + solid), max(known + solid)
        except TypeError:  # values of several types have no order
            self.ordered = False


def parse_domains(text: str) -> list[str]:
    """The columns of `abstract_domains`: a comma list or a JSON array of names (wire.md, section 1).

    Raises:
        SelectorError: a JSON array that is none, or a name twice.
    """
    text = text.strip()
    names = _json_names(text) if text.startswith("[") else [part.strip() for part in text.split(",")]
    names = [name for name in names if name]
    if len(set(names)) < len(names):
        raise SelectorError("abstract_domains names a column twice")
    return names


def check_domains(domains: Sequence[str], columns: Sequence[str]) -> None:
    """Raise for the first of `domains` that is no column. Without rows there is nothing to check (rulings.md 15)."""
    for name in domains:
        if name not in columns:
            raise SelectorError(f"abstract_domains names {name!r}; the columns are: {', '.join(columns)}")


def _json_names(text: str) -> list[str]:
    try:
        names = loads(text)
    except MALFORMED as error:
        raise SelectorError(f"abstract_domains looks like a JSON array and is none: {error}") from error
    if not all(isinstance(name, str) for name in names):
        raise SelectorError("abstract_domains is a comma list or a JSON array of column names")
    return [name.strip() for name in names]


def _only(frame: Frame, domains: Sequence[str]) -> Frame:
    shown = {name: frame.columns[name] for name in domains if name in frame.columns}
    return Frame(shown, frame.ids, frame.ragged)


def _short(value: Any) -> Any:
    value = json_value(value)
    if isinstance(value, (str, list, dict)):
        text = value if isinstance(value, str) else repr(value)
        return text if len(text) <= _EXAMPLE_CHARACTERS else text[:_EXAMPLE_CHARACTERS] + "…"
    return value
