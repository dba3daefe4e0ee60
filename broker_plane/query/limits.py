"""What one query may use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryLimits:
    """The limits of one query: an engine ends a query that reaches one of them."""

    seconds: float = 10.0
    """From the statement to the last byte of the result, by the clock."""
    memory_bytes: int = 1 << 30
    """For the tables that it reads and everything that it computes."""
    threads: int = 2
    result_rows: int = 1_000_000
    result_bytes: int = 64 << 20
    """Of the result, as Arrow."""
