"""`plane.query`: asks the bridge of the first body, and gives its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from broker_plane.runtime import arguments
from broker_plane.runtime.pulls import Pull, PullRouter
from broker_plane.wire.query import QueryColumn, QueryRequest, parse_bodies, parse_query
from broker_plane.wire.selector import WHOLE
from broker_plane.wire.urls import data_url

LEAST_SECONDS = 600.0
"""The least time to wait for an answer: the bridge's limit is not known here, and a query waits for its turn."""


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The result of a query: its first rows, and the body with all of them."""

    columns: list[QueryColumn]
    total_rows: int
    rows: list[dict[str, Any]]
    resource_url: str
    expires: datetime
    _pulls: PullRouter

    @property
    def truncated(self) -> bool:
        """Whether there are more rows than `rows`."""
        return len(self.rows) < self.total_rows

    async def table(self) -> Any:
        """Pull all rows as a pyarrow.Table. Raises as `Plane.pull_table`."""
        return await self._pulls.table(Pull(self.resource_url, WHOLE), None)

    def to_wire(self) -> dict[str, Any]:
        """For JSON output."""
        return {
            "columns": [{"name": column.name, "type": column.type} for column in self.columns],
            "total_rows": self.total_rows,
            "rows": self.rows,
            "truncated": self.truncated,
            "resource_url": self.resource_url,
            "expires": self.expires.isoformat(),
        }


async def query(
    pulls: PullRouter,
    bridge_url: str,
    sql: str,
    bodies: Mapping[str, str],
    *,
    rows: int,
    ttl: arguments.Lifetime | None,
    uses: arguments.Uses,
    seconds: float,
) -> QueryResult:
    """Run a query as `Plane.query` says, and wait up to `seconds` for the answer."""
    grants = parse_bodies({name: arguments.address(address) for name, address in bodies.items()})
    fields: dict[str, Any] = {"sql": sql, "bodies": grants, "rows": rows}
    if ttl is not None:
        fields["ttl"] = arguments.whole_seconds(ttl)
    request: QueryRequest = parse_query(fields | {"uses": arguments.uses(uses) or "unlimited"})
    urls = [address if "://" in address else data_url(bridge_url, grants[name]) for name, address in bodies.items()]
    answer = await pulls.http.query(urls, request, seconds)
    expires = datetime.fromtimestamp(answer.expires, UTC)
    return QueryResult(answer.columns, answer.total_rows, answer.rows, answer.resource_url, expires, pulls)
