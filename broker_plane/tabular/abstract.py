"""The abstract: the few columns that the model reads, and a summary by column if there are too many rows for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from broker_plane.errors import SelectorError
from broker_plane.tabular.frame import ABSENT, Frame
from broker_plane.tabular.json_values import json_value
from broker_plane.wire.column_names import parse_names, resolved

_MOST_DISTINCT = 10_000
_EXAMPLES = 5
_EXAMPLE_CHARACTERS = 80


class AbstractBuilder:
    """Collects frames; `rows` has the first `limit` rows of the columns `domains`, `summary()` describes all rows.

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
    """Type, nulls, distinct values, minimum, maximum and examples of a column, in bounded memory."""

    def __init__(self) -> None:
        self.kinds: set[str] = set()
        self.present = 0
        self.least: Any = None
        self.greatest: Any = None
        self.ordered = True
        self.seen: set[Any] = set()
        self.examples: list[Any] = []

    def add(self, values: Sequence[Any]) -> None:
        if set(map(type, values)) == {str}:  # all values are present and numbers, and each counts once
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
        except TypeError:  # lists and dicts are not hashable
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
        except TypeError:  # values of several types cannot be ordered
            self.ordered = False


def parse_domains(text: str) -> list[str]:
    """The columns of `abstract_domains`: a comma list or a JSON array of names
    (docs/reference/wire-protocol.md#results).

    The parts of a comma list are kept as written: `resolved` and `AbstractBuilder` find the columns.

    Raises:
        SelectorError: an invalid JSON array, or a name that occurs twice.
    """
    names = parse_names(text, "abstract_domains")
    return type(names)(name for name in names if name)


def check_domains(domains: Sequence[str], columns: Sequence[str]) -> None:
    """Raise for the first of `domains` that is not a column. Without rows nothing is checked (docs/decisions/0035)."""
    for name in resolved(domains, columns):
        if name not in columns:
            raise SelectorError(f"abstract_domains names {name!r}; the columns are: {', '.join(columns)}")


def _only(frame: Frame, domains: Sequence[str]) -> Frame:
    shown = {name: frame.columns[name] for name in resolved(domains, frame.columns) if name in frame.columns}
    return Frame(shown, frame.ids, frame.ragged)


def _short(value: Any) -> Any:
    value = json_value(value)
    if isinstance(value, (str, list, dict)):
        text = value if isinstance(value, str) else repr(value)
        return text if len(text) <= _EXAMPLE_CHARACTERS else text[:_EXAMPLE_CHARACTERS] + "…"
    return value
