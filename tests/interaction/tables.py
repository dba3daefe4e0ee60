"""Rows for tests: a table of the CAP alerts' width, and one of every type."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID


def wide(count: int, columns: int = 29) -> list[dict[str, Any]]:
    return [{f"c{column}": f"value {row} of {column}" for column in range(columns)} for row in range(count)]


def typed() -> list[dict[str, Any]]:
    """What JSON lacks, column by column."""
    return [
        {
            "when": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            "cost": Decimal("1.10"),
            "raw": b"\x00\xff",
            "nan": float("nan"),
            "id": UUID(int=7),
            "big": 2**70,
        },
        {"when": None, "nested": {"list": [1, None]}},
    ]
