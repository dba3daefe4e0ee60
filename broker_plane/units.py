"""Numbers as people write them: sizes (`64KiB`, `10MB`) and times (`30s`, `10m`, `7d`). Pure."""

from __future__ import annotations

import re
from decimal import Decimal

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
_MOST_DIGITS = 40


def parse_size(text: str) -> int:
    """The bytes of `500`, `64KiB` (1,024 each) or `10MB` (1,000,000 each); case does not matter.

    Raises:
        ValueError: not a size; the message shows one.
    """
    number, unit = _split(text, "a size such as 500, 64KiB or 10MB")
    if unit in _BARE:
        raise ValueError(f"the unit of {text.strip()!r} is ambiguous: write {_BARE[unit]}")
    if unit not in _BYTES:
        raise ValueError(f"{text.strip()!r} has an unknown unit; use B, KiB, MiB, GiB, TiB or kB, MB, GB, TB")
    return _whole(number * _BYTES[unit], f"{text.strip()!r} is not a whole number of bytes")


def parse_time(text: str, *, per: int = 1) -> float:
    """A time such as `30`, `30s`, `10m`, `2h` or `7d`, in units of `per` seconds, which a bare number is in as well.

    Raises:
        ValueError: not a time; the message shows one.
    """
    number, unit = _split(text, "a time such as 30s, 10m, 2h or 7d")
    if unit and unit not in _SECONDS:
        raise ValueError(f"{text.strip()!r} has an unknown unit; use ms, s, m, h, d or w")
    found = float(number * _SECONDS[unit] / per if unit else number)
    return found if found or not number else float("nan")  # too small for a float


def parse_whole_time(text: str, *, per: int = 1) -> int:
    """As `parse_time`, for whole numbers of seconds (or days).

    Raises:
        ValueError: not a time, or not a whole number of these units.
    """
    number, unit = _split(text, "a time such as 30s, 10m, 2h or 7d")
    if unit and unit not in _SECONDS:
        raise ValueError(f"{text.strip()!r} has an unknown unit; use s, m, h, d or w")
    found = number * _SECONDS[unit] / per if unit else number
    return _whole(found, f"{text.strip()!r} is not a whole number of {'days' if per == 86_400 else 'seconds'}")


def parse_count(text: str) -> int:
    """A whole number without a unit.

    Raises:
        ValueError: not a whole number.
    """
    number, unit = _split(text, "a whole number")
    if unit:
        raise ValueError(f"{text.strip()!r} has a unit; it is a count and takes none")
    return _whole(number, f"{text.strip()!r} is not a whole number")


def _split(text: str, wanted: str) -> tuple[Decimal, str]:
    found = _NUMBER.fullmatch(text.strip()) if len(text) <= _MOST_DIGITS else None
    if found is None:
        shown = repr(text.strip()) if len(text) <= _MOST_DIGITS else f"a text of {len(text)} characters"
        raise ValueError(f"{shown} is not {wanted}")
    return Decimal(found[1]), found[2].lower()


def _whole(number: Decimal, otherwise: str) -> int:
    if number != int(number):
        raise ValueError(otherwise)
    return int(number)
