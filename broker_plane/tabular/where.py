"""The meaning of `where`, over the columns of a frame. The language is in wire/where.py. Pure.

- Numbers are comparable with numbers (an int, a float and a Decimal of one value are equal), texts with texts, booleans
  with booleans. In a column of several types a comparison is false for values that are not comparable with the literal,
  and `not` of it is true. If no value of the column is comparable with the literal, it is an error: see `RowFilter`.
- A text is comparable with a date, a time, a datetime or a UUID in its ISO 8601 form. A datetime without offset is
taken
  as UTC next to one with an offset; one with an offset is not comparable with any datetime without.
- A comparison with null, with an absent value or with NaN is false, also for `!=`. `is null` is true for null and
absent.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from broker_plane.errors import SelectorError
from broker_plane.tabular.frame import ABSENT, Absent, Frame
from broker_plane.wire.caveats import Rows, Where
from broker_plane.wire.rows import RowSet
from broker_plane.wire.urls import quoted
from broker_plane.wire.where import (
    And,
    Compare,
    Expression,
    In,
    IsNull,
    Not,
    Or,
    Value,
    columns_of,
    literals_of,
    parse_where,
    shown_value,
)

Test = Callable[[Any], bool]
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_PARSERS: dict[type, Callable[[str], Any]] = {
    datetime: datetime.fromisoformat,
    date: date.fromisoformat,
    time: time.fromisoformat,
    UUID: UUID,
}


class RowFilter:
    """The rows that the steps of a scope leave, frame by frame, in the body's order.

    A comparison is judged by the rows that the steps before it leave: hidden rows decide nothing. After all frames,
    `check` refuses a comparison whose literal has another type than every value that it was compared with.
    """

    def __init__(self, steps: Sequence[Rows | Where]) -> None:
        self._steps = [step if isinstance(step, Rows) else parse_where(step.text) for step in steps]
        self._open = [[] if isinstance(step, Rows) else _comparisons(step) for step in self._steps]
        self._left = [step.first if isinstance(step, Rows) else None for step in self._steps]
        trees = [step for step in self._steps if not isinstance(step, Rows)]
        self.columns = frozenset().union(*map(columns_of, trees))
        """The columns that must be decoded for it."""

    @property
    def done(self) -> bool:
        """Whether no later row can be left, and no later value decides whether a comparison is an error."""
        if 0 not in self._left:
            return False
        return not any(each.unlike for step in self._open[: self._left.index(0)] for each in step)

    def check(self) -> None:
        """Raise SelectorError for the first comparison that no value could match because of its type."""
        for step in self._open:
            for each in step:
                if each.unlike:
                    raise each.error()

    def keep(self, frame: Frame) -> list[int]:
        """The remaining `_row_id`s of `frame`; frames are given in order, each once."""
        places: Sequence[int] = range(len(frame.ids))
        for number, step in enumerate(self._steps):
            if isinstance(step, Rows):
                among, left = step.among, self._left[number]
                if among is not None:
                    named = among.places(frame.ids)
                    places = named if len(places) == len(frame.ids) else sorted(set(named).intersection(places))
                if left is not None:
                    places = places[:left]
                    self._left[number] = left - len(places)
            else:
                if self._open[number]:
                    self._open[number] = _unmet(self._open[number], frame, places)
                mask = matching(step, frame)
                places = [place for place in places if mask[place]]
        return [frame.ids[place] for place in places]


def rows_left(steps: Sequence[Rows | Where], rows: RowSet) -> RowSet | None:
    """The rows that steps without a `where` leave of `rows`; None if the values must be read."""
    for step in steps:
        if isinstance(step, Where):
            return None
        rows = rows if step.among is None else rows & step.among
        rows = rows if step.first is None else rows.first(step.first)
    return rows


def matching(tree: Expression, frame: Frame) -> list[bool]:
    """For each row of `frame`, whether `tree` is true; a column that the frame lacks is absent in every row."""
    match tree:
        case And(parts):
            return [all(each) for each in zip(*(matching(part, frame) for part in parts), strict=True)]
        case Or(parts):
            return [any(each) for each in zip(*(matching(part, frame) for part in parts), strict=True)]
        case Not(inner):
            return [not each for each in matching(inner, frame)]
        case IsNull(column):
            return [value is None or value is ABSENT for value in _values(frame, column)]
        case Compare(column, sign, literal):
            return _tested(_values(frame, column), [_Like(literal, _OPERATORS[sign])])
        case In(column, literals):
            return _tested(_values(frame, column), [_Like(literal, operator.eq) for literal in literals])


@dataclass(slots=True)
class _Comparison:
    """A column and a literal that no value was comparable with so far. `unlike` has the types of the other values."""

    column: str
    literal: Value
    unlike: set[type] = field(default_factory=set)

    def met_by(self, values: Sequence[Any], kinds: set[type]) -> bool:
        """Whether one of `values`, which have the types `kinds`, is comparable with the literal."""
        like = _Like(self.literal, operator.eq)
        if any(like.meets(kind, values) for kind in kinds):
            return True
        self.unlike |= kinds
        return False

    def error(self) -> SelectorError:
        held = " and ".join(sorted({_KINDS.get(kind, kind.__name__) for kind in self.unlike}))
        shown, column = shown_value(self.literal), quoted(self.column)
        return SelectorError(
            f"where compares the column {column}, which holds {held}, with {shown}, which is {_kind(self.literal)}: "
            f"no row can match. {self._advice(shown, column)}"
        )

    def _advice(self, shown: str, column: str) -> str:
        if self.unlike == {str}:
            return f"Write '{shown}' to compare texts, or publish {column} with values of that type"
        if not isinstance(self.literal, str):
            return f"Compare {column} with a value of its own type"
        if self.unlike <= {int, float, Decimal, bool}:
            return f"Write a value of the column's type, without quotes; or publish {column} as text"
        if self.unlike & {datetime, time}:
            return "Write it in ISO 8601, with an offset only where the column's values have one"
        return "Write it as the column's values are written (dates, times: ISO 8601)"


_NOTHING = {type(None), Absent}
_KINDS: dict[type, str] = {
    str: "text",
    int: "numbers",
    float: "numbers",
    Decimal: "numbers",
    bool: "true and false",
    datetime: "dates with time",
    date: "dates",
    time: "times",
    timedelta: "durations",
    UUID: "UUIDs",
    bytes: "bytes",
    list: "lists",
    dict: "maps",
}


def _kind(literal: Value) -> str:
    if isinstance(literal, bool):
        return "true or false"
    return "text" if isinstance(literal, str) else "a number"


def _unmet(comparisons: Sequence[_Comparison], frame: Frame, places: Sequence[int]) -> list[_Comparison]:
    """Those of `comparisons` that none of the values at `places` is comparable with."""
    looked: dict[str, tuple[Sequence[Any], set[type]]] = {}
    for column in {each.column for each in comparisons}:
        values: Sequence[Any] = frame.columns.get(column, ())
        if values and len(places) < len(values):
            values = [values[place] for place in places]
        looked[column] = (values, set(map(type, values)) - _NOTHING)
    return [each for each in comparisons if not each.met_by(*looked[each.column])]


def _comparisons(tree: Expression) -> list[_Comparison]:
    return [_Comparison(column, literal) for column, literal in literals_of(tree)]


def _values(frame: Frame, column: str) -> Sequence[Any]:
    return frame.columns.get(column) or [ABSENT] * len(frame.ids)


def _tested(values: Sequence[Any], tests: Sequence[_Like]) -> list[bool]:
    """Whether one of `tests` is true; by type, so that each type is examined once."""
    by_type: dict[type, list[Test]] = {
        kind: [found for test in tests if (found := test.of(kind)) is not None] for kind in set(map(type, values))
    }
    if len(tests) == 1:
        single = {kind: found[0] if found else _never for kind, found in by_type.items()}
        return [single[type(value)](value) for value in values]
    return [any(test(value) for test in by_type[type(value)]) for value in values]


class _Like:
    """One literal and one operator, as a test for the values of each comparable type."""

    def __init__(self, literal: Value, compare: Callable[[Any, Any], bool]) -> None:
        self._literal = literal
        self._compare = compare

    def of(self, kind: type) -> Test | None:
        """None: no value of `kind` is comparable with the literal."""
        compare, literal = self._compare, self._literal
        if isinstance(literal, bool) or kind is bool:
            return (lambda value: compare(value, literal)) if isinstance(literal, bool) and kind is bool else None
        if isinstance(literal, str):
            return self._of_text(kind, literal)
        if kind is float:
            # A literal 1.1 means the float that is written so, and not the decimal that no float equals.
            number = float(literal) if isinstance(literal, Decimal) else literal
            return lambda value: value == value and compare(value, number)
        if kind is Decimal:
            return lambda value: not value.is_nan() and compare(value, literal)
        return (lambda value: compare(value, literal)) if kind is int else None

    def meets(self, kind: type, values: Sequence[Any]) -> bool:
        """Whether one of `values` of type `kind` can be compared with the literal."""
        if self.of(kind) is None:
            return False
        if kind not in (datetime, time):
            return True
        spelled = _PARSERS[kind](str(self._literal))
        return spelled.tzinfo is None or any(type(value) is kind and value.tzinfo is not None for value in values)

    def _of_text(self, kind: type, literal: str) -> Test | None:
        compare = self._compare
        if kind is str:
            return lambda value: compare(value, literal)
        with suppress(KeyError, ValueError):
            spelled = _PARSERS[kind](literal)
            if kind in (datetime, time):
                return lambda value: _timed(value, spelled, compare)
            return lambda value: compare(value, spelled)
        return None


def _timed(value: Any, spelled: Any, compare: Callable[[Any, Any], bool]) -> bool:
    if value.tzinfo is not None and spelled.tzinfo is None:
        spelled = spelled.replace(tzinfo=UTC)
    if (value.utcoffset() is None) != (spelled.utcoffset() is None):
        return False
    return compare(value, spelled)


def _never(value: Any) -> bool:
    return False
