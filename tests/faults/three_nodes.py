"""Three nodes on nats.conf, and planes on them: with users and passwords, as an operator runs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic

from broker_plane import Plane, Published
from broker_plane.broker.connecting import connect
from broker_plane.broker.connection import Connection
from broker_plane.cli.accounts import USERS, variables_of
from broker_plane.config import Settings, load_settings
from broker_plane.errors import BrokerPlaneError, StorageError
from broker_plane.testing.cluster import NatsCluster, Node
from broker_plane.testing.processes import until
from tests.deploy.running import CONF


class ThreeNodes:
    """A cluster, and what connects to it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._variables = variables_of([*USERS])
        self.cluster = NatsCluster(root, config=CONF, environment=self._variables)

    def start(self) -> None:
        self.cluster.start()

    def stop(self) -> None:
        self.cluster.stop()

    def url(self, *numbers: int, user: str = "plane") -> str:
        """The list of these nodes, of all by default, as this user of nats.conf."""
        password = self._variables[f"BP_{user.upper()}_PASSWORD"]
        return self.cluster.url(*numbers, user=user, password=password)

    def variables(self, *numbers: int, replicas: int = 3) -> dict[str, object]:
        """Settings of a plane that is told of these nodes, of all by default."""
        return {
            "nats_url": self.url(*numbers),
            "replicas": replicas,
            "data_dir": self._root / "plane",
            "callout_password": self._variables["BROKER_PLANE_CALLOUT_PASSWORD"],
            "callout_seed": self._variables["BROKER_PLANE_CALLOUT_SEED"],
            "nats_probe_password": self._variables["BROKER_PLANE_NATS_PROBE_PASSWORD"],
        }

    def settings(self, *numbers: int, **more: object) -> Settings:
        return load_settings(**(self.variables(*numbers) | more))

    def source(self, bridge_url: str) -> Settings:
        """Of the resource server `weather`."""
        return load_settings(
            nats_url=self.url(user="weather"),
            role="source",
            owner="weather",
            bridge_url=bridge_url,
            data_dir=self._root / "weather",
        )

    async def by_hand(self, *numbers: int) -> Connection:
        """A connection of the test's own."""
        return await connect(self.url(*numbers), timeout=5)

    async def leader(self, stream: str) -> Node:
        """The node that leads a stream now."""
        async with closing(await self.by_hand()) as connection:
            info = await connection.retry(lambda: connection.api(f"STREAM.INFO.{stream}"))
            return self.cluster.node(info["cluster"]["leader"])

    async def lead(self, stream: str, node: Node) -> None:
        """Make a node lead a stream."""
        async with closing(await self.by_hand()) as connection:

            async def leads() -> bool:
                info = await connection.retry(lambda: connection.api(f"STREAM.INFO.{stream}"))
                if info["cluster"].get("leader") == node.name:
                    return True
                with suppress(StorageError):
                    wanted = {"placement": {"preferred": node.name}}
                    await connection.api(f"STREAM.LEADER.STEPDOWN.{stream}", wanted)
                return False

            await until(leads, f"{node.name} to lead {stream}", 30)


@asynccontextmanager
async def closing(connection: Connection) -> AsyncIterator[Connection]:
    try:
        yield connection
    finally:
        await connection.close()


async def after(work: Callable[[], Awaitable[object]], seconds: float = 60) -> float:
    """The seconds until `work` succeeds; what the cluster refuses for now is tried again, as any client would."""
    began = monotonic()
    while True:
        try:
            await work()
        except BrokerPlaneError as error:
            if not error.retryable or monotonic() - began > seconds:
                raise
            await asyncio.sleep(0.05)
        else:
            return monotonic() - began


def at(plane: Plane, published: Published) -> str:
    """The URL of a body at the bridge of `plane`."""
    return f"{plane.bridge_url}/s2sp/data/{published.grant}"


def connected_to(cluster: NatsCluster, connection: Connection) -> Node:
    """The node on which a connection is."""
    url = connection.client.connected_url
    return next(node for node in cluster.nodes if url is not None and node.port == url.port)
