"""The port of query engines: SQL and Arrow in, Arrow out.

`pool.py` carries it out with DuckDB. Another engine (DataFusion, Spark Connect, Ballista) implements `QueryEngine` and
is given to `Queries`; docs/query.md has an example.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol

from broker_plane.query.limits import QueryLimits


class ArrowSource(Protocol):
    """One table of a query, as its grant shows it: hidden columns and rows cannot be read through it."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the grant shows, in order."""

    @property
    def rows(self) -> int:
        """The number of rows that the grant shows."""

    def frames(self, columns: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """Yield groups of rows in the body encoding (decision 0002), of these columns only.

        Columns of a published table are Arrow already and pass through unchanged; `decoded_frames.py` decodes all.
        """

    def arrow(self, columns: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """Yield one Arrow IPC stream of these columns, for engines that do not know the body encoding."""


class QueryEngine(Protocol):
    """Runs one statement over tables. Each call is independent: nothing of a query is left for the next one."""

    def run(self, sql: str, tables: Mapping[str, ArrowSource], limits: QueryLimits) -> AsyncGenerator[bytes, None]:
        """Yield the result as one Arrow IPC stream. The fields may carry the metadata `sql_type`, for people.

        Closing the generator, or cancelling it, ends the query at once.

        Raises:
            QueryFailedError: the engine's own message: a syntax error, an unknown column, a division by zero.
            QueryRefusedError: the statement is not a single SELECT, or touches something beyond its tables.
            TooCostlyError: a limit was reached.
            QueryUnavailableError: this process has no engine.
        """

    async def close(self) -> None:
        """End all queries, and release everything."""
