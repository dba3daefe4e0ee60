"""Values of NumPy, pandas, polars and the like as Python values; none of these packages is imported. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from broker_plane.errors import TabularError

_AS_VALUES = frozenset("mMgVO")
"""Kinds of NumPy arrays (`g` by its character) whose `tolist` gives other values: nanoseconds as whole numbers."""

_MONTHS = frozenset({"Y", "M"})
_TEXTS = frozenset({"ipaddress", "pathlib", "pydantic", "pydantic_core"})
"""Modules whose values are texts: addresses, paths and URLs."""


def unwrapped(value: Any) -> Any:
    """A foreign value one step closer to Python's: an array as a list, a missing value as None.

    Raises:
        TabularError: it has no exact Python value, or is of an unknown type.
    """
    kind = type(value)
    if kind.__module__.partition(".")[0] in _TEXTS:
        return str(value)
    if kind.__name__ == "NAType" and kind.__module__.startswith("pandas"):
        return None
    if not hasattr(value, "dtype"):
        raise unsupported_value(value)
    if kind.__module__.partition(".")[0] == "numpy":
        return _of_numpy(value)
    if hasattr(value, "tolist"):
        found = value.tolist()
        if hasattr(value, "isna") and getattr(value.dtype, "kind", "") != "f" and str(value.dtype) != "object":
            return [None if type(each) is float and each != each else each for each in found]  # of missing texts
        return found
    if hasattr(value, "to_list"):
        return value.to_list()
    raise unsupported_value(value)


def unsupported_value(value: Any, why: str = "") -> TabularError:
    """The error for a value without a plain form."""
    return TabularError(
        f"A value of type {type(value).__name__} cannot be stored{why and f': {why}'}; "
        "convert it to a number, text, bytes, date, list or dict first"
    )


def is_array(value: Any) -> bool:
    """Whether a value is an array of NumPy, and not one of its scalars."""
    if not hasattr(value, "__array_finalize__") or type(value).__name__ == "MaskedConstant":
        return False
    return not isinstance(value, _scalars(value))


def _of_numpy(value: Any) -> Any:
    kind = value.dtype.kind
    if type(value).__name__ == "MaskedConstant":
        return None
    if is_array(value):
        if not value.ndim:
            return value[()]
        return list(value) if kind in _AS_VALUES or value.dtype.char == "g" else value.tolist()
    if kind in "mM":
        return _time(value, kind)
    if kind == "V":
        names = value.dtype.names
        return bytes(value) if names is None else {name: value[name] for name in names}
    if value.dtype.char == "g":
        number = float(value)
        if value == number or value != value:
            return number
        raise unsupported_value(value, "it has more digits than a float")
    return value.item()


def _scalars(value: Any) -> type:
    """NumPy's base class of scalars, found from one of its values."""
    found: type = value.dtype.type.__mro__[-2]
    for base in value.dtype.type.__mro__:
        if base.__name__ == "generic":
            found = base
    return found


def _time(value: Any, kind: str) -> Any:
    """A datetime64 or timedelta64 as a Python value; None for NaT."""
    if value != value:
        return None
    unit = value.dtype.str.partition("[")[2].rstrip("]")
    found = value.item()
    if isinstance(found, int) and not (kind == "m" and unit in _MONTHS):
        exact = value.astype(f"{value.dtype.char}8[us]")
        found = exact.item() if exact == value else found
    if isinstance(found, int) or not unit:
        raise unsupported_value(value, "it has no exact datetime or timedelta; round it to microseconds")
    return found


def check_nanoseconds(value: datetime | timedelta) -> None:
    """Raise TabularError if pandas' Timestamp or Timedelta has nanoseconds, which Python's types lack."""
    if getattr(value, "nanosecond", 0) or getattr(value, "nanoseconds", 0):
        raise unsupported_value(
            value, "it has nanoseconds, and microseconds are the finest that can be stored; round it"
        )
