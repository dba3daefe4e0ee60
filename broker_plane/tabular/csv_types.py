"""Finds the type of a column of texts, as in CSV, from all of them. Pure.

A column has a type if every non-empty text in it is written as that type; otherwise it is text. So no value changes:
`007`, `+1`, `1e5`, `inf`, `1,5` and whole numbers of more than 18 digits stay texts.

- whole numbers: `0`, `-12`; without a plus sign, leading zeros or exponent
- numbers: `1.5`, `2.0`, or all with the same number of decimals (`12.50`, `3.00`), also mixed with whole numbers
- decimals: the same, if a float would lose digits of one of them, up to 38 digits
- booleans: `true`, `false`, also as `True` and `TRUE`
- dates `2026-01-02`, times `03:04:05`, and both with `T` or a blank between them, with or without a fraction of up to
  six digits, and with or without an offset (`Z`, `+01:00`, `+01`) for the whole column

In typed columns an empty field is null, as in a column without any text; in a text column it is an empty text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)\.([0-9]+)")
_EXPONENT = re.compile(r"-?[1-9](?:\.[0-9]+)?e[+-][0-9]{2,3}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?")
_DATETIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?"
    r"(Z|[+-][0-9]{2}(?::?[0-9]{2}(?::[0-9]{2})?)?)?"
)
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_EXACT_INT = 1 << 53
_NUMBER_CHARACTERS = 64
_DECIMAL_DIGITS = 38
"""As many as DuckDB and Arrow have in a decimal of 128 bits."""

MAX_CELL = 64 << 20
"""Maximum number of characters per cell. An unclosed quote turns the rest of a file into one cell."""

Cells = Sequence[str | None]


class ColumnType:
    """Feed the texts of a column in parts; then `of` returns their values.

    With `times_only` the types are dates and times: for JSON, which has numbers and booleans of its own.
    """

    def __init__(self, *, times_only: bool = False) -> None:
        self._left: list[_Kind] = [
            _Kind(_is_date, date.fromisoformat),
            _Datetime(),
            _Kind(_is_time, time.fromisoformat),
        ]
        if not times_only:
            numbers = [_Kind(_is_whole, int), _Number(), _Kind(_is_boolean, _BOOLEANS.__getitem__)]
            self._left = [*numbers, *self._left]
        self._empty = True

    @property
    def decided(self) -> bool:
        """Whether it is text, whatever follows."""
        return not self._left

    def see(self, texts: Iterable[str | None]) -> None:
        solid = {text for text in texts if text}
        if solid:
            self._empty = False
            self._left = [kind for kind in self._left if kind.takes(solid)]

    def of(self, texts: Cells) -> Sequence[Any]:
        """The values of texts that were all seen before; None stays None."""
        if self._empty:
            return [None] * len(texts)
        for kind in self._left:
            if kind.fits():
                parse = kind.parse
                return [parse(text) if text else None for text in texts]
        return texts


class _Kind:
    """One type: the texts that it accepts, and their values."""

    def __init__(self, is_one: Callable[[str], bool], parse: Callable[[str], Any]) -> None:
        self._is_one = is_one
        self.parse = parse

    def takes(self, texts: set[str]) -> bool:
        return all(map(self._is_one, texts))

    def fits(self) -> bool:
        """Whether the texts seen so far also have one common form."""
        return True


class _Number(_Kind):
    """Numbers with a fraction: floats, or Decimals if a float would lose digits of one of them.

    `1.10` next to `1.9` may be a version number; next to `2.25` it is an amount.
    """

    def __init__(self) -> None:
        super().__init__(self._is_number, self._value)
        self._decimals: set[int] = set()
        self._padded = self._long = self._exponent = False

    def fits(self) -> bool:
        if self._long and (self._exponent or not self._decimals):
            return False
        return not self._padded or len(self._decimals) == 1

    def _value(self, text: str) -> float | Decimal:
        return Decimal(text) if self._long else float(text)

    def _is_number(self, text: str) -> bool:
        if len(text) > _NUMBER_CHARACTERS:
            return False
        if found := _DECIMAL.fullmatch(text):
            self._decimals.add(len(found[1]))
            if repr(float(text)) == text:
                return True
            if text.endswith("0"):
                self._padded = True
                short = text.rstrip("0")
                if repr(float(text)) == (short + "0" if short.endswith(".") else short):
                    return True
            self._long = True
            return len(text) <= _DECIMAL_DIGITS
        if _WHOLE.fullmatch(text):
            self._long = self._long or abs(int(text)) > _EXACT_INT
            return True
        self._exponent = True
        return _EXPONENT.fullmatch(text) is not None and repr(float(text)) == text


class _Datetime(_Kind):
    """Dates with a time, all of them with an offset or none."""

    def __init__(self) -> None:
        super().__init__(self._is_datetime, datetime.fromisoformat)
        self._aware: set[bool] = set()

    def fits(self) -> bool:
        return len(self._aware) == 1

    def _is_datetime(self, text: str) -> bool:
        if found := _DATETIME.fullmatch(text):
            with suppress(ValueError):
                datetime.fromisoformat(text)
                self._aware.add(found[1] is not None)
                return True
        return False


def _is_whole(text: str) -> bool:
    return _WHOLE.fullmatch(text) is not None


def _is_boolean(text: str) -> bool:
    return text in _BOOLEANS


def _is_date(text: str) -> bool:
    if _DATE.fullmatch(text):
        with suppress(ValueError):
            date.fromisoformat(text)
            return True
    return False


def _is_time(text: str) -> bool:
    if _TIME.fullmatch(text):
        with suppress(ValueError):
            time.fromisoformat(text)
            return True
    return False
