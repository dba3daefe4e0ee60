"""The query engine of a bridge, made from its settings."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from broker_plane.config import Settings
from broker_plane.files.sources import LocalFiles
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.bodies.publish import Publisher
from broker_plane.query.engine import QueryEngine
from broker_plane.query.limits import QueryLimits
from broker_plane.query.pool import DuckDbPool
from broker_plane.query.queries import Queries
from broker_plane.runtime.wiring import Wiring


@dataclass(frozen=True, slots=True)
class QueryService:
    """The queries of a bridge and their engine; None where BROKER_PLANE_QUERY_WORKERS is 0."""

    queries: Queries | None = None
    engine: QueryEngine | None = None

    async def close(self) -> None:
        if self.engine is not None:
            await self.engine.close()


def query_service(
    wiring: Wiring, settings: Settings, deliveries: Deliveries, engine: QueryEngine | None = None
) -> QueryService:
    """The queries of one bridge, by `engine`, or by a pool of DuckDB workers, which the first query starts."""
    workers, limits = settings.query_workers, limits_of(settings)
    if not workers:
        return QueryService()
    engine = engine or DuckDbPool(workers, limits)

    def publisher_of(owner: str) -> Publisher:
        return Publisher(
            wiring.store, wiring.grants, owner, files=LocalFiles(), now=wiring.now, random_bytes=secrets.token_bytes
        )

    queries = Queries(
        deliveries,
        engine,
        limits,
        workers=workers,
        publisher_of=publisher_of,
        now=wiring.now,
        ttl=settings.ttl_seconds,
    )
    return QueryService(queries, engine)


def limits_of(settings: Settings) -> QueryLimits:
    """The limits of each query."""
    return QueryLimits(
        seconds=settings.max_query_seconds,
        memory_bytes=settings.max_query_memory_bytes,
        threads=settings.max_query_threads,
        result_rows=settings.max_query_result_rows,
        result_bytes=settings.max_query_result_bytes,
    )
