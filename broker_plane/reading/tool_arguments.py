"""The arguments of the reading tools, in the spellings that models use. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from broker_plane.errors import WireError
from broker_plane.wire import slips

_KNOWN = ("page", "rows", "head", "tail", "grep", "json_path", "where", "columns", "max_tokens")


def address_of(arguments: Mapping[str, Any], name: str = "resource_url") -> str:
    """The resource_url in the arguments of a tool.

    Raises:
        WireError: there is none, or it is not a single URL.
    """
    found = slips.url(arguments.get(name))
    if not isinstance(found, str) or not found:
        raise WireError(f"{name} is missing: pass the one that the result had")
    return found


def read_arguments(arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The address, and the keywords of `Plane.read`.

    Raises:
        WireError: an argument is unknown, or cannot be read as what it should be.
    """
    if unknown := sorted(set(arguments) - {"resource_url", *_KNOWN}):
        raise WireError(f"read_body has no argument {unknown[0]:.40}; there are resource_url, {', '.join(_KNOWN)}")
    found = {name: _READERS[name](name, arguments[name]) for name in _KNOWN if name in arguments}
    return address_of(arguments), {name: value for name, value in found.items() if value is not None}


def _number(name: str, value: Any) -> int | None:
    try:
        said = slips.number(value)
        if isinstance(said, float) and not said.is_integer():
            raise ValueError
        return None if said is None or said == "" else int(said)
    except (ValueError, TypeError, OverflowError) as error:
        raise WireError(f"{name} is a whole number") from error


def _rows(name: str, value: Any) -> str | None:
    """`rows` as text: also a number, or a list of numbers."""
    if isinstance(value, list) and all(type(row) is int for row in value):
        return ",".join(map(str, value)) or None
    if type(value) is int:
        return str(value)
    if not isinstance(value, str):
        return _text(name, value)
    return None if slips.is_nothing(value) else slips.bare(value).strip("[]() ")


def _text(name: str, value: Any) -> str | None:
    if slips.is_nothing(value):
        return None
    if not isinstance(value, str):
        raise WireError(f"{name} is a text")
    return value


def _where(name: str, value: Any) -> str | None:
    return _text(name, slips.condition(value))


def _columns(name: str, value: Any) -> list[str] | None:
    found = slips.names(value)
    if found is None or found == []:
        return None
    if not isinstance(found, list) or not all(isinstance(column, str) for column in found):
        raise WireError(f"{name} is a list of column names")
    return found


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "page": _number,
    "rows": _rows,
    "head": _number,
    "tail": _number,
    "grep": _text,
    "json_path": _text,
    "where": _where,
    "columns": _columns,
    "max_tokens": _number,
}
