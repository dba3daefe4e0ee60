"""The query engine of a bridge, made from its settings."""

from __future__ import annotations

from broker_plane.config import Settings
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.query.limits import QueryLimits
from broker_plane.query.pool import DuckDbPool
from broker_plane.query.queries import Queries
from broker_plane.runtime.wiring import Wiring


def bridge_queries(wiring: Wiring, settings: Settings, deliveries: Deliveries) -> Queries:
    """The queries of one bridge, by a pool of DuckDB workers, which the first query starts."""
    workers, limits = settings.query_workers, limits_of(settings)
    return Queries(
        deliveries,
        DuckDbPool(workers, limits),
        limits,
        workers=workers,
        publisher_of=wiring.publisher_of,
        now=wiring.now,
        ttl=settings.ttl_seconds,
    )


def limits_of(settings: Settings) -> QueryLimits:
    """The limits of each query."""
    return QueryLimits(
        seconds=settings.max_query_seconds,
        memory_bytes=settings.max_query_memory_bytes,
        threads=settings.max_query_threads,
        result_rows=settings.max_query_result_rows,
        result_bytes=settings.max_query_result_bytes,
    )
