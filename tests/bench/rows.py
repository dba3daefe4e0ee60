"""What both sides of a comparison send: tables, and what is checked when they arrive.

The one rule: the standard library only, because one side runs in an environment that has none of ours.
"""

from __future__ import annotations

import functools
import json
import operator
import random
import string
import time
import zlib
from collections.abc import Callable
from typing import Any

Rows = list[dict[str, Any]]

ABSTRACT = ("event", "severity")
CATEGORIES = ("status", "urgency", "certainty", "category", "response", "sender", "scope", "code", "language")
DETAILS = tuple(f"detail_{number}" for number in range(9))
NOTES = tuple(f"note_{number}" for number in range(8))
COLUMNS = ("id", *ABSTRACT, *CATEGORIES, *DETAILS, *NOTES)
TEXT_CHARACTERS = 1_000


@functools.cache
def words() -> tuple[str, ...]:
    """2,000 short strings, the same in every process."""
    dice = random.Random(29)
    return tuple("".join(dice.choices(string.ascii_lowercase, k=dice.randint(5, 30))) for _ in range(2_000))


@functools.cache
def _table(rows: int) -> Rows:
    dice = random.Random(rows)
    few, many = words()[:8], words()

    def values(row: int) -> tuple[str, ...]:
        kinds = dice.choices(few, k=len(ABSTRACT) + len(CATEGORIES))
        details = dice.choices(many, k=len(DETAILS))
        notes = (f"{word} {row}" for word in dice.choices(many, k=len(NOTES)))
        return (f"alert-{row:06}", *kinds, *details, *notes)

    return [dict(zip(COLUMNS, values(row), strict=True)) for row in range(rows)]


def table(rows: int) -> Rows:
    """Rows of 29 short strings, as alerts have: an id, eleven categories, nine recurring details, eight unique notes.

    Fresh dicts at each call: mcp-sd writes `_row_id` into the rows that a tool returns.
    """
    return [dict(row) for row in _table(rows)]


@functools.cache
def _texts(size: int) -> Rows:
    dice = random.Random(size)
    return [
        {"id": f"text-{row:06}", "text": " ".join(dice.choices(words(), k=80))[:TEXT_CHARACTERS]}
        for row in range(max(1, size // TEXT_CHARACTERS))
    ]


def texts(size: int) -> Rows:
    """About `size` bytes, as rows with one text of 1,000 characters each."""
    return [dict(row) for row in _texts(size)]


@functools.cache
def opaque(size: int) -> bytes:
    """So many random bytes, the same in every process."""
    return random.Random(size).randbytes(size)


def checksum(rows: Rows) -> int:
    """One number that changes when any value, or the order of rows, does; `_row_id` and column order do not count."""
    found = len(rows)
    for column in sorted(set(rows[0]) - {"_row_id"}) if rows else ():
        found = zlib.crc32("\0".join(map(operator.itemgetter(column), rows)).encode(), found)
    return found


CELLS = ("detail_0", "note_0")
"""The columns of which a consumer needs no more."""


def cells(rows: Rows) -> Rows:
    return [{name: row[name] for name in CELLS} for row in rows]


def report_columns(take: Callable[[], dict[str, list[str]]]) -> str:
    """As `report`, of a table; `take` makes lists of it, which is for the check alone."""
    start = time.perf_counter()
    columns = take()
    found = len(next(iter(columns.values())))
    checked = found
    for name in sorted(columns):
        checked = zlib.crc32("\0".join(columns[name]).encode(), checked)
    return json.dumps({"rows": found, "checksum": checked, "checking_ms": (time.perf_counter() - start) * 1_000})


def report(rows: Rows) -> str:
    """What the consumer tool of either side returns, with the milliseconds that checking took it."""
    start = time.perf_counter()
    found = {"rows": len(rows), "checksum": checksum(rows)}
    return json.dumps({**found, "checking_ms": (time.perf_counter() - start) * 1_000})


def hand_on(result: str, every: int = 1) -> dict[str, str]:
    """The agent's step: from the resource tool's text to the consumer tool's arguments, keeping one row in `every`."""
    found = json.loads(result)
    return {"abstract_data": json.dumps(found["abstract"][::every]), "resource_url": found["resource_url"]}
