"""Parse and format numbers as people write them: sizes (`64KiB`, `10MB`), times (`30s`, `10m`, `7d`), `unlimited`."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Final, Literal

_NUMBER = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))\s*([a-zA-Zµ]*)")
_BYTES = {"": 1, "b": 1, "byte": 1, "bytes": 1} | {
    name: factor
    for power, letter in enumerate("kmgtpe", start=1)
    for name, factor in ((f"{letter}ib", 1 << 10 * power), (f"{letter}b", 1000**power))
}
_BARE = {letter: f"{letter.upper()}iB or {letter.upper()}B" for letter in "kmgtpe"}
_SECONDS = {
    **dict.fromkeys(("", "s", "sec", "secs", "second", "seconds"), Decimal(1)),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), Decimal(60)),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), Decimal(3600)),
    **dict.fromkeys(("d", "day", "days"), Decimal(86_400)),
    **dict.fromkeys(("w", "week", "weeks"), Decimal(604_800)),
    "ms": Decimal("0.001"),
}
_MAX_DIGITS = 40
NO_LIMIT: Final = "unlimited"
UNLIMITED = 1 << 60
"""The value of a limit that is `unlimited`: larger than anything that it is compared with."""


def parse_size(text: str) -> int:
    """The bytes in `500`, `64KiB` (1,024 bytes each) or `10MB` (1,000,000 bytes each), in upper or lower case.

    Raises:
        ValueError: the text is not a size; the message shows what one looks like.
    """
    number, unit = _split(text, "a size such as 500, 64KiB or 10MB")
    if unit in _BARE:
        raise ValueError(f"the unit of {text.strip()!r} is ambiguous: write {_BARE[unit]}")
    if unit not in _BYTES:
        raise ValueError(f"{text.strip()!r} has an unknown unit; use B, KiB, MiB, GiB, TiB or kB, MB, GB, TB")
    return _whole(number * _BYTES[unit], f"{text.strip()!r} is not a whole number of bytes")


def parse_time(text: str, *, per: int = 1) -> float:
    """A time such as `30s`, `10m`, `2h` or `7d`, in units of `per` seconds; a number alone is in that unit.

    Raises:
        ValueError: the text is not a time; the message shows what one looks like.
    """
    number, unit = _split(text, "a time such as 30s, 10m, 2h or 7d")
    if unit and unit not in _SECONDS:
        raise ValueError(f"{text.strip()!r} has an unknown unit; use ms, s, m, h, d or w")
    found = float(number * _SECONDS[unit] / per if unit else number)
    return found if found or not number else float("nan")  # too small for a float: no bound accepts it


def parse_whole_time(text: str, *, per: int = 1) -> int:
    """Like `parse_time`, but only whole numbers of seconds (or days).

    Raises:
        ValueError: the text is not a time, or not a whole number of units.
    """
    number, unit = _split(text, "a time such as 30s, 10m, 2h or 7d")
    if unit and unit not in _SECONDS:
        raise ValueError(f"{text.strip()!r} has an unknown unit; use s, m, h, d or w")
    found = number * _SECONDS[unit] / per if unit else number
    return _whole(found, f"{text.strip()!r} is not a whole number of {'days' if per == 86_400 else 'seconds'}")


def parse_count(text: str) -> int:
    """A whole number without a unit.

    Raises:
        ValueError: the text is not a whole number.
    """
    number, unit = _split(text, "a whole number")
    if unit:
        raise ValueError(f"{text.strip()!r} has a unit; this is a count and takes none")
    return _whole(number, f"{text.strip()!r} is not a whole number")


def parse_uses(text: str) -> int | Literal["unlimited"]:
    """The number of uses of a grant, or `unlimited`.

    Raises:
        ValueError: the text is neither.
    """
    return NO_LIMIT if text.strip().lower() == NO_LIMIT else _limit(parse_count, text)


def or_unlimited(parse: Callable[[str], int]) -> Callable[[str], int]:
    """A parser that also accepts `unlimited`, which is `UNLIMITED`."""

    def parsed(text: str) -> int:
        return UNLIMITED if text.strip().lower() == NO_LIMIT else _limit(parse, text)

    return parsed


def format_size(size: int) -> str:
    """`size` in the largest binary unit that divides it, such as `512KiB`; `parse_size` reads it back."""
    if size == UNLIMITED:
        return NO_LIMIT
    power = next((power for power in (5, 4, 3, 2, 1) if size and size % (1 << 10 * power) == 0), 0)
    return f"{size >> 10 * power}{('', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB')[power]}"


def format_time(seconds: float) -> str:
    """`seconds` in the largest unit that divides them, such as `10m`; `parse_time` reads it back."""
    for unit, factor in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds and seconds % factor == 0:
            return f"{seconds / factor:g}{unit}"
    return f"{seconds:g}s"


def _limit(parse: Callable[[str], int], text: str) -> int:
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{error}; for no limit, write {NO_LIMIT}") from error


def _split(text: str, wanted: str) -> tuple[Decimal, str]:
    found = _NUMBER.fullmatch(text.strip()) if len(text) <= _MAX_DIGITS else None
    if found is None:
        shown = repr(text.strip()) if len(text) <= _MAX_DIGITS else f"a text of {len(text)} characters"
        raise ValueError(f"{shown} is not {wanted}")
    return Decimal(found[1]), found[2].lower()


def _whole(number: Decimal, otherwise: str) -> int:
    if number != int(number):
        raise ValueError(otherwise)
    return int(number)
