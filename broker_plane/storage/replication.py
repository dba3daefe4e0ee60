"""How well the plane's streams are replicated, for operators of a cluster."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from broker_plane.broker.connection import Connection


@dataclass(frozen=True, slots=True)
class Replication:
    """The cluster's name, the number of the plane's streams, and those with too few replicas or with some that lag."""

    cluster: str
    streams: int
    too_few: tuple[str, ...]
    behind: tuple[str, ...]
    """As `<stream> on <node>`."""


async def replication_of(connection: Connection, wanted: int) -> Replication | None:
    """The replication of the plane's streams, each of which should have `wanted` replicas; None on a single server."""
    if not connection.clustered:
        return None
    count = 0
    too_few: list[str] = []
    behind: list[str] = []
    async with aclosing(_streams(connection)) as streams:
        async for info in streams:
            name = str(info["config"]["name"])
            if not connection.names.has(name):
                continue
            count += 1
            if info["config"]["num_replicas"] < wanted:
                too_few.append(name)
            replicas = (info.get("cluster") or {}).get("replicas") or []
            behind += [f"{name} on {each['name']}" for each in replicas if not _is_healthy(each)]
    return Replication(connection.client.cluster, count, tuple(too_few), tuple(behind))


async def _streams(connection: Connection) -> AsyncGenerator[Mapping[str, Any], None]:
    seen = 0
    while True:
        page = await connection.retrying_api("STREAM.LIST", {"offset": seen})
        streams: list[Mapping[str, Any]] = page.get("streams") or []
        for info in streams:
            yield info
        seen += len(streams)
        if not streams or seen >= page["total"]:
            return


def _is_healthy(replica: Mapping[str, Any]) -> bool:
    return bool(replica.get("current")) and not replica.get("offline")
