"""Types that a table declares for its columns: names of SQL types, and those of pandas' table schema. Pure.

Only texts are converted, and only a whole column: to dates, times, decimals, UUIDs and durations. The rest of JSON has
its types already. A column of declared text stays text, whatever it looks like.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

_DURATION = re.compile(
    r"(-?)P(?:(\d{1,9})D)?(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})(?:\.(\d{1,9}))?S)?)?", re.ASCII
)
_DECIMAL = re.compile(r"-?(?:0|[1-9]\d{0,75})(?:\.\d{1,76})?(?:[eE][+-]?\d{1,3})?", re.ASCII)


def _datetime(text: str) -> datetime:
    _check_microseconds(text)
    return datetime.fromisoformat(text)


def _time(text: str) -> time:
    _check_microseconds(text)
    return time.fromisoformat(text)


def _check_microseconds(text: str) -> None:
    digits = re.split(r"[Z+-]", text.replace(",", ".").partition(".")[2])[0]
    if digits[6:].strip("0"):
        raise ValueError("more digits than microseconds have")


def _decimal(text: str) -> Decimal:
    if not _DECIMAL.fullmatch(text):
        raise ValueError("not a decimal number")
    return Decimal(text)


def _duration(text: str) -> timedelta:
    found = _DURATION.fullmatch(text)
    if not found or len(text) < 3:
        raise ValueError("not a duration")
    sign, days, hours, minutes, seconds, fraction = found.groups()
    micro = (fraction or "").ljust(6, "0")
    if micro[6:].strip("0"):
        raise ValueError("more digits than microseconds have")
    whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    made = timedelta(int(days or 0), whole, int(micro[:6]))
    return -made if sign else made


_PARSERS: dict[str, Callable[[str], Any]] = {
    "date": date.fromisoformat,
    "timestamp": _datetime,
    "timestamptz": _datetime,
    "datetime": _datetime,
    "timestamp with time zone": _datetime,
    "timestamp without time zone": _datetime,
    "timestamp_s": _datetime,
    "timestamp_ms": _datetime,
    "timestamp_ns": _datetime,
    "time": _time,
    "decimal": _decimal,
    "numeric": _decimal,
    "number": _decimal,
    "uuid": UUID,
    "duration": _duration,
}
"""By the lower-case name of a type, without its parameters."""


def is_converted(declared: str) -> bool:
    """Whether texts in a column of the declared type are converted."""
    return _name(declared) in _PARSERS


def converted(values: Sequence[Any], declared: str) -> list[Any] | None:
    """The texts among `values` as values of the declared type; None if there is no text, or one of another type."""
    parse = _PARSERS[_name(declared)]
    if str not in set(map(type, values)):
        return None
    try:
        return [parse(value) if type(value) is str else value for value in values]
    except (ValueError, InvalidOperation, OverflowError):
        return None


def _name(declared: str) -> str:
    return declared.lower().partition("(")[0].strip()
