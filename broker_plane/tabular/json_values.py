"""The one JSON view of a value, the same on every path (wire.md, section 5).

datetime, date, time: RFC 3339 (a naive one without offset) · timedelta: ISO 8601 duration · bytes: base64 ·
Decimal, UUID and ints beyond ±2^53: text · NaN and infinities: null, and counted · an absent column: no member.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from broker_plane.errors import EncodingError
from broker_plane.tabular.frame import Frame
from broker_plane.wire import exact_json

_SAFE_INT = 1 << 53
_FAST = orjson.OPT_STRICT_INTEGER | orjson.OPT_PASSTHROUGH_SUBCLASS


def dumps(value: Any) -> bytes:
    """The JSON text of any value of wire.md's types; no type of theirs is an error.

    Raises:
        EncodingError: it is nested more deeply than any writer nests.
    """
    try:
        return orjson.dumps(value, default=_default, option=_FAST)
    except TypeError:  # an int beyond 2^53, a key that is no text, a lone surrogate, a deep nesting
        return _dumped(value)


def _dumped(value: Any) -> bytes:
    try:
        viewed = json_value(value)
        try:
            return orjson.dumps(viewed)
        except TypeError:  # nested more than 254 deep
            return exact_json.dumps(viewed)
    except RecursionError as error:
        raise EncodingError("A value is nested too deeply to be shown as JSON") from error


def json_value(value: Any) -> Any:
    """`value` as json.loads would give it back after `dumps`. Raises as `dumps`."""
    try:
        return _viewed(value)
    except RecursionError as error:
        raise EncodingError("A value is nested too deeply to be shown as JSON") from error


def _viewed(value: Any) -> Any:
    if value is None or type(value) is bool:
        return value
    if isinstance(value, str):
        return str(value).encode("utf-8", "replace").decode()
    if isinstance(value, int):
        return int(value) if -_SAFE_INT < value < _SAFE_INT else str(int(value))
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        # By map and not by comprehension, which would take twice the stack: writers nest up to 500 deep.
        return dict(zip(map(_key, value), map(_viewed, value.values()), strict=True))
    if isinstance(value, (list, tuple)):
        return list(map(_viewed, value))
    return _default(value)


def count_lost(frame: Frame) -> int:
    """How many NaN and infinities of `frame` its JSON view shows as null."""
    return sum(_count_lost(values) for values in frame.columns.values())


def _count_lost(values: Sequence[Any]) -> int:
    lost = 0
    while values:  # level by level, however deep they are nested
        kinds = set(map(type, values))
        if float in kinds:
            lost += sum(1 for value in values if type(value) is float and not math.isfinite(value))
        if dict not in kinds and list not in kinds:
            break
        values = [member for value in values if isinstance(value, (dict, list)) for member in _members(value)]
    return lost


def _key(key: Any) -> str:
    return str(_viewed(key))


def _members(value: dict[Any, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _default(value: Any) -> Any:
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return _duration(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return b64encode(value).decode()
    if isinstance(value, (Decimal, UUID)):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (str, int, float, list, tuple)):
        return _viewed(value)
    if hasattr(value, "value") and hasattr(value, "name"):
        return _viewed(value.value)
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        return value.tolist()
    return str(value)


def _duration(value: timedelta) -> str:
    """ISO 8601, whole seconds and microseconds: P1DT2.5S, -PT3S."""
    sign, value = ("-", -value) if value < timedelta(0) else ("", value)
    seconds = f"{value.seconds}.{value.microseconds:06d}".rstrip("0").rstrip(".")
    days = f"{value.days}D" if value.days else ""
    return f"{sign}P{days}T{seconds}S" if value.seconds or value.microseconds or not days else f"{sign}P{days}"
