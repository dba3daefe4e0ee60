"""Strict reading of the members of a JSON object: every error names the member that is wrong. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from broker_plane.errors import ChangeError, TooLargeError, WireError
from broker_plane.sessions import canonical
from broker_plane.wire.bounds import MAX_SAFE_INT

_MISSING: Final = object()

_AROUND: Final = 4
"""Levels that an edit may have around the value of an artifact."""


class Members:
    """The members of one object. Each is read once; `finish` refuses those that nobody read."""

    def __init__(self, fields: object, what: str) -> None:
        """Raises WireError if `fields` is not an object; `what` is its name in errors."""
        if not isinstance(fields, Mapping) or not all(isinstance(name, str) for name in fields):
            raise WireError(f"{what} must be a JSON object")
        self._left = dict(fields)
        self.what = what

    def has(self, name: str) -> bool:
        return name in self._left

    def any(self, name: str, default: Any = _MISSING) -> Any:
        """The member as it is. Raises WireError if it is missing and has no default."""
        value = self._left.pop(name, default)
        if value is _MISSING:
            raise WireError(f"{self.what} needs `{name}`")
        return value

    def text(self, name: str, default: Any = _MISSING, *, most: int, least: int = 0) -> Any:
        """A string of at most `most` bytes in UTF-8."""
        value = self.any(name, default)
        if value is default:
            return value
        if not isinstance(value, str):
            raise self._wrong(name, "a string")
        if len(value) < least:
            raise self._wrong(name, "a string that is not empty")
        check_characters(value, name)
        if len(value.encode()) > most:
            raise TooLargeError(f"`{name}` may have {most} bytes")
        return value

    def integer(self, name: str, default: Any = _MISSING, *, least: int = 0, most: int = MAX_SAFE_INT) -> Any:
        """A whole number from `least` to `most`."""
        value = self.any(name, default)
        if value is default:
            return value
        if type(value) is not int or not least <= value <= most:
            raise self._wrong(name, f"a whole number from {least} to {most}")
        return value

    def number(self, name: str, default: Any = _MISSING, *, least: float, most: float) -> Any:
        """A number from `least` to `most`; NaN is refused."""
        value = self.any(name, default)
        if value is default:
            return value
        if type(value) not in (int, float) or not least <= value <= most:
            raise self._wrong(name, f"a number from {least:g} to {most:g}")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        value = self.any(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def choice(self, name: str, choices: Sequence[str], default: Any = _MISSING) -> Any:
        """One of `choices`."""
        value = self.any(name, default)
        if value is default:
            return value
        if not isinstance(value, str) or value not in choices:
            raise self._wrong(name, f"one of {', '.join(choices)}")
        return value

    def items(self, name: str, *, most: int) -> tuple[Any, ...]:
        """A list of at most `most` items; empty if it is missing."""
        value = self.any(name, ())
        if isinstance(value, str) or not isinstance(value, Sequence) or len(value) > most:
            raise self._wrong(name, f"a list of at most {most} items")
        return tuple(value)

    def finish(self) -> None:
        """Raise WireError if there are members that this object does not have."""
        if self._left:
            raise WireError(f"{self.what} has no member {next(iter(self._left))[:40]!r}")

    def _wrong(self, name: str, wanted: str) -> WireError:
        return WireError(f"`{name}` of {self.what[:1].lower()}{self.what[1:]} must be {wanted}")


def check_characters(text: str, name: str) -> None:
    """Raise WireError if a string has half of a surrogate pair, which UTF-8 cannot express."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise WireError(f"`{name}` has half of a surrogate pair; send complete characters") from error


def check_json(value: Any, name: str) -> None:
    """Find out whether a value has a canonical form (RFC 8785).

    Raises:
        WireError: a number that JSON cannot express exactly, half of a surrogate pair, or nested too deeply.
    """
    try:
        canonical.check_json(value, canonical.DEEPEST + _AROUND)
    except ChangeError as error:
        raise WireError(f"`{name}` is not valid: {error}") from error


def check_size(value: Any, name: str, most: int) -> None:
    """Find out whether a value has a canonical form and at most `most` bytes as JSON.

    Raises:
        WireError: it has no canonical form.
        TooLargeError: it is larger.
    """
    check_json(value, name)
    if len(msgspec.json.encode(value)) > most:
        raise TooLargeError(f"`{name}` may have {most} bytes as JSON")
