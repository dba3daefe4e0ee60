"""The one JSON view of a value, the same on every path (wire.md, section 5).

datetime, date, time: RFC 3339 (a naive one without offset) · timedelta: ISO 8601 duration · bytes: base64 ·
Decimal, UUID and ints beyond ±2^53: text · NaN and infinities: null, and counted · an absent column: no member.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from broker_plane.errors import EncodingError, TabularError
from broker_plane.tabular.frame import Frame
from broker_plane.tabular.plain import plain
from broker_plane.wire import exact_json
from broker_plane.wire.nesting import levels

_SAFE_INT = 1 << 53
_FAST = orjson.OPT_STRICT_INTEGER | orjson.OPT_PASSTHROUGH_SUBCLASS


def dumps(value: Any) -> bytes:
    """The JSON text of any value of wire.md's types; no type of theirs is an error.

    Raises:
        EncodingError: it is nested more deeply than any writer nests, or two keys of a map are the same as text.
    """
    try:
        return orjson.dumps(value, default=_default, option=_FAST)
    except TypeError:  # an int beyond 2^53, a key that is no text, a lone surrogate, a deep nesting
        return _dumped(value)


def exact_dumps(value: Any) -> bytes:
    """The JSON text of a value that came as JSON, and is to go on as it was: numbers stay numbers, of any size.

    What no JSON has in it is shown as `dumps` shows it.
    """
    try:
        return exact_json.dumps(value)
    except (TypeError, ValueError):  # a type that is none of JSON's
        return dumps(value)


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
        return str.__str__(value).encode("utf-8", "replace").decode()
    if isinstance(value, int):
        value = int.__index__(value)
        return value if -_SAFE_INT < value < _SAFE_INT else str(value)
    if isinstance(value, float):
        return float.__float__(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        # By map and not by comprehension, which would take twice the stack.
        viewed = dict(zip(map(_key, value), map(_viewed, value.values()), strict=True))
        if len(viewed) < len(value):
            raise EncodingError("Two keys of a map are the same as JSON; take it as application/msgpack")
        return viewed
    if isinstance(value, (list, tuple)):
        return list(map(_viewed, value))
    return _default(value)


def count_lost(frame: Frame) -> int:
    """How many NaN and infinities of `frame` its JSON view shows as null."""
    return sum(_count_lost(values) for values in frame.columns.values())


def _count_lost(values: Sequence[Any]) -> int:
    return sum(
        sum(1 for value in level if type(value) is float and not math.isfinite(value))
        for level, kinds in levels(values)
        if float in kinds
    )


def _key(key: Any) -> str:
    return str(_viewed(key))


def _default(value: Any) -> Any:
    shown = _SHOWN.get(type(value))
    if shown is not None:
        return shown(value)
    try:
        return _viewed(plain(value))
    except TabularError:  # nothing that is stored
        return str(value)


def _duration(value: timedelta) -> str:
    """ISO 8601, whole seconds and microseconds: P1DT2.5S, -PT3S."""
    sign, value = ("-", -value) if value < timedelta(0) else ("", value)
    seconds = f"{value.seconds}.{value.microseconds:06d}".rstrip("0").rstrip(".")
    days = f"{value.days}D" if value.days else ""
    return f"{sign}P{days}T{seconds}S" if value.seconds or value.microseconds or not days else f"{sign}P{days}"


_SHOWN: dict[type, Callable[[Any], str]] = {
    datetime: datetime.isoformat,
    date: date.isoformat,
    time: time.isoformat,
    timedelta: _duration,
    bytes: lambda value: b64encode(value).decode(),
    Decimal: str,
    UUID: str,
}
