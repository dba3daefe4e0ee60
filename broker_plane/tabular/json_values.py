"""The one JSON view of a value, the same on every path (docs/reference/wire-protocol.md#json).

datetime, date, time: RFC 3339 (a naive one without offset) · timedelta: ISO 8601 duration · bytes: base64 ·
Decimal, UUID and ints beyond ±2^53: text · NaN and infinities: null, and counted · an absent column: no member.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from broker_plane.errors import EncodingError, TabularError
from broker_plane.tabular.json_scalars import SHOWN_AS_TEXT, json_float, json_int, json_text
from broker_plane.tabular.plain import plain
from broker_plane.wire import exact_json
from broker_plane.wire.nesting import levels

if TYPE_CHECKING:
    from broker_plane.tabular.frame import Frame

_FAST = orjson.OPT_STRICT_INTEGER | orjson.OPT_PASSTHROUGH_SUBCLASS


def json_bytes(value: Any) -> bytes:
    """The JSON text of a value of any supported type.

    Raises:
        EncodingError: the value is nested more deeply than any writer allows, or two keys of a map are equal as text.
    """
    try:
        return orjson.dumps(value, default=_default, option=_FAST)
    except TypeError:  # an int beyond 2^53, a key that is not text, a lone surrogate, deep nesting
        return _dumped(value)


def exact_json_bytes(value: Any) -> bytes:
    """The JSON text of a value that was parsed from JSON, unchanged: numbers of any size stay numbers.

    Values of other types are shown as `json_bytes` shows them.
    """
    try:
        return exact_json.dumps(value)
    except (TypeError, ValueError):  # not a JSON type
        return json_bytes(value)


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
    """`value` as `json.loads` would return it after `json_bytes`. Raises as `json_bytes`."""
    try:
        return _viewed(value)
    except RecursionError as error:
        raise EncodingError("A value is nested too deeply to be shown as JSON") from error


def _viewed(value: Any) -> Any:
    if value is None or type(value) is bool:
        return value
    if isinstance(value, str):
        return json_text(value)
    if isinstance(value, int):
        return json_int(value)
    if isinstance(value, float):
        return json_float(value)
    if isinstance(value, Mapping):
        # `map` and no comprehension, which would use twice the stack.
        viewed = dict(zip(map(_key, value), map(_viewed, value.values()), strict=True))
        if len(viewed) < len(value):
            raise EncodingError("Two keys of a map are the same as JSON; request application/msgpack")
        return viewed
    if isinstance(value, (list, tuple)):
        return list(map(_viewed, value))
    return _default(value)


def count_lost(frame: Frame) -> int:
    """The number of NaN and infinite values of `frame`, which its JSON view shows as null."""
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
    shown = SHOWN_AS_TEXT.get(type(value))
    if shown is not None:
        return shown(value)
    try:
        return _viewed(plain(value))
    except TabularError:  # never stored
        return str(value)
