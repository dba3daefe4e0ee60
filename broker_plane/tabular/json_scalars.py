"""The JSON view of values without members: numbers, texts, times, bytes. Pure."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

_SAFE_INT = 1 << 53


def json_scalar(value: Any) -> Any:
    """The JSON view of a plain value (plain.py) that is neither a list nor a dict."""
    if value is None or type(value) is bool:
        return value
    if type(value) is str:
        return json_text(value)
    if type(value) is int:
        return json_int(value)
    if type(value) is float:
        return json_float(value)
    return SHOWN_AS_TEXT[type(value)](value)


def json_text(value: str) -> str:
    """The text, with a question mark for each lone surrogate."""
    return str.__str__(value).encode("utf-8", "replace").decode()


def json_int(value: int) -> int | str:
    """The number, or its text if not every JSON reader keeps all of its digits."""
    value = int.__index__(value)
    return value if -_SAFE_INT < value < _SAFE_INT else str(value)


def json_float(value: float) -> float | None:
    """The number; None for NaN and infinities."""
    return float.__float__(value) if math.isfinite(value) else None


def _duration(value: timedelta) -> str:
    """ISO 8601, whole seconds and microseconds: P1DT2.5S, -PT3S."""
    sign, value = ("-", -value) if value < timedelta(0) else ("", value)
    seconds = f"{value.seconds}.{value.microseconds:06d}".rstrip("0").rstrip(".")
    days = f"{value.days}D" if value.days else ""
    return f"{sign}P{days}T{seconds}S" if value.seconds or value.microseconds or not days else f"{sign}P{days}"


SHOWN_AS_TEXT: dict[type, Callable[[Any], str]] = {
    datetime: datetime.isoformat,
    date: date.isoformat,
    time: time.isoformat,
    timedelta: _duration,
    bytes: lambda value: b64encode(value).decode(),
    Decimal: str,
    UUID: str,
}
