"""Values that Python's `repr` writes, read without evaluating anything. Pure.

Literals, and calls of a few constructors that database drivers return: `Decimal('1.50')`, `datetime.date(2026, 1, 2)`,
`UUID('…')`, `RealDictRow([…])`, NumPy's scalars. Everything else is an error.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal, InvalidOperation
from math import inf, nan
from typing import Any
from uuid import UUID

from broker_plane.wire.bounds import MAX_DECIMAL_BYTES

UNREADABLE = (ValueError, TypeError, SyntaxError, OverflowError, MemoryError, RecursionError, InvalidOperation)
"""The errors of `value_of` and of `ast.parse`."""

_CONSTANTS = frozenset({str, bytes, int, float, bool, type(None)})
_NAMES: dict[str, Any] = {
    "inf": inf,
    "nan": nan,
    "NaT": None,
    "datetime.timezone.utc": UTC,
    "timezone.utc": UTC,
    "np.True_": True,
    "np.False_": False,
    "np.nan": nan,
    "np.inf": inf,
}


def value_of(node: ast.expr) -> Any:
    """The value of a parsed expression; lists for tuples within values. Raises one of UNREADABLE."""
    if isinstance(node, ast.Constant):
        if type(node.value) in _CONSTANTS and node.value != inf:  # 1e400, whose digits are lost
            return node.value
    elif isinstance(node, ast.List | ast.Tuple):
        return list(map(value_of, node.elts))
    elif isinstance(node, ast.Dict):
        keys = [value_of(key) for key in node.keys if key is not None]
        return dict(zip(keys, map(value_of, node.values), strict=True))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = value_of(node.operand)
        if type(value) in (int, float):
            return -value
    elif isinstance(node, ast.Call):
        return _made(node)
    elif isinstance(node, ast.Name | ast.Attribute):
        return _NAMES[name] if (name := _name(node)) in _NAMES else _refused(name)
    return _refused(type(node).__name__)


def _made(node: ast.Call) -> Any:
    name = _name(node.func)
    make = _CONSTRUCTORS.get(name) or _CONSTRUCTORS.get(name.partition(".")[2])
    if make is None:
        return _refused(name)
    options = {word.arg: value_of(word.value) for word in node.keywords if word.arg is not None}
    if len(options) < len(node.keywords):
        return _refused("**")
    return make(*map(value_of, node.args), **options)


def _name(node: ast.expr) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is not a literal")


def _decimal(text: str) -> Decimal:
    if not isinstance(text, str) or len(text) > MAX_DECIMAL_BYTES:
        raise ValueError("a Decimal is made of text")
    return Decimal(text)


def _uuid(text: str) -> UUID:
    return UUID(text)


def _timestamp(text: str, tz: str | None = None, freq: str | None = None) -> datetime:
    """pandas'. Its zone is in the text, as an offset."""
    if len(text.partition(".")[2].partition("+")[0]) > 6:
        raise ValueError("more digits than microseconds have")
    return datetime.fromisoformat(text)


def _scalar(value: Any) -> Any:
    if type(value) not in _CONSTANTS:
        raise ValueError("not a scalar")
    return value


def _mapping(pairs: Any) -> dict[Any, Any]:
    return dict(pairs) if isinstance(pairs, Mapping | list) else _refused("a mapping of no pairs")


_CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "Decimal": _decimal,
    "UUID": _uuid,
    "datetime": datetime,
    "date": date,
    "time": time,
    "timedelta": timedelta,
    "timezone": timezone,
    "Timestamp": _timestamp,
    "OrderedDict": _mapping,
    "RealDictRow": _mapping,
    **dict.fromkeys(("float16", "float32", "float64", "str_", "bool_"), _scalar),
    **dict.fromkeys(("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"), _scalar),
}
"""By the name without its module."""
