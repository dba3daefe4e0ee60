"""The readings that all three foreign servers of `levels` have, and the CSV file that they become on the client."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from typing import NamedTuple

ROWS = 2_000
MOST_ROWS = 1_000_000
COLUMNS = "station,at,level_mm"
_BEGAN = 1_767_225_600
_STATIONS = 40


class Reading(NamedTuple):
    """A water level: `at` is in unix seconds, `level_mm` in millimetres above (or below) the mark."""

    station: int
    at: int
    level_mm: int


@cache
def made_readings(count: int) -> tuple[Reading, ...]:
    """The first `count` readings; always the same ones."""
    readings = []
    state = 20_433
    for number in range(count):
        state = (state * 1_103_515_245 + 12_345) % 2**31
        readings.append(
            Reading(1 + number % _STATIONS, _BEGAN + 600 * (number // _STATIONS), state // 2**16 % 6_000 - 900)
        )
    return tuple(readings)


@cache
def csv_of(count: int) -> bytes:
    """The CSV file of the first `count` readings: a line with the columns, then a line for each reading."""
    lines = [COLUMNS, *(f"{each.station},{each.at},{each.level_mm}" for each in made_readings(count))]
    return ("\n".join(lines) + "\n").encode()


def digest_of(count: int) -> str:
    """The SHA-256 (hex) of that file."""
    return sha256(csv_of(count)).hexdigest()
