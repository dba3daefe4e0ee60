"""A node of three dies, also the one that was named: nothing is lost, and all ways serve again as soon as they can."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest
from typer.testing import CliRunner

from broker_plane.cli.main import app_of
from broker_plane.runtime.connect import Plane, Published
from broker_plane.testing.cluster import Node
from broker_plane.testing.processes import until
from tests.faults.conftest import Stage
from tests.faults.http_reader import get
from tests.faults.three_nodes import ThreeNodes, after
from tests.figures import Figure

pytestmark = pytest.mark.anyio
BODIES, GRANTS = "OBJ_bp_local", "KV_bp_grants"
PATIENCE = 120
BOUND_SECONDS = 30
AIM = "within 5 s, or as soon as nats-server has elected a leader"
SPARE_SECONDS = 1.5
"""After the election: what we add to nats-server's own time, on a busy machine."""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreeNodes]:
    nodes = ThreeNodes(tmp_path_factory.mktemp("nodes"))
    nodes.start()
    yield nodes
    nodes.stop()


@pytest.fixture
async def bridge(nodes: ThreeNodes, stage: Stage) -> str:
    """A bridge process that is told of the first node only."""
    return str((await stage.run("broker_plane.cli.bridge", **nodes.variables(0)).said())["bridge"])


@pytest.fixture
async def plane(nodes: ThreeNodes, bridge: str) -> AsyncIterator[Plane]:
    """A plane that is told of the first node only, and of that bridge."""
    async with Plane.connect(nodes.settings(0, bridge_url=bridge)) as plane:
        yield plane
    nodes.start()


async def served_without(nodes: ThreeNodes, plane: Plane, victim: Node, kept: list[tuple[Published, bytes]]) -> None:
    """Everything works again after `victim` was killed, and what was acknowledged is whole."""
    old, raw = kept[0]
    victim.kill()

    async def pull(way: str) -> None:
        address = old.resource_url if way == "http" else old.subject
        assert await plane.pull(address, via=way) == raw  # type: ignore[arg-type]

    async def publish() -> None:
        fresh = os.urandom(1_500_000)
        kept.append((await plane.publish(fresh, uses=0), fresh))

    async def ready() -> bool:
        return (await get(f"{plane.bridge_url}/readyz")).status == 200

    async with asyncio.timeout(BOUND_SECONDS):
        await asyncio.gather(
            after(publish),
            after(lambda: pull("http")),
            after(lambda: pull("nats")),
            until(ready, "readyz to be green", BOUND_SECONDS),
        )


async def test_the_named_node_dies_and_everything_goes_on(
    nodes: ThreeNodes, plane: Plane, bridge: str, tmp_path: Path, figure: Figure
) -> None:
    """The smoke test of CI: publish, both pulls and readiness; then every role connects by a list with a dead node."""
    named = nodes.cluster.nodes[0]
    kept: list[tuple[Published, bytes]] = []
    for size in (10, 700_000, 5_000_000):
        raw = os.urandom(size)
        kept.append((await plane.publish(raw, uses=0), raw))
    began = anyio.current_time()
    await served_without(nodes, plane, named, kept)
    took = anyio.current_time() - began
    figure("three nodes: the named node dies", f"all ways served again after {took:.1f} s", aim=AIM, met=took < 7)

    for published, raw in kept:
        assert await plane.pull(published.resource_url, via="http") == raw
    async with (
        Plane.connect(
            nodes.settings(),
        ) as another,
        Plane.connect(nodes.source(bridge)) as weather,
    ):
        of_weather = await weather.publish(b"sunny", uses=2)
        assert await another.pull(of_weather.subject, via="nats") == b"sunny"
        async with Plane.guest(nodes.cluster.url()) as guest:
            assert await guest.pull(of_weather.subject, via="nats") == b"sunny"
    said = await doctor(nodes, tmp_path)
    assert (said["problem"], said["cluster"]) == (None, "test-cluster")
    assert said["guests"] == "a grant connects and pulls"
    assert f"on {named.name}" in said["behind"]


async def doctor(nodes: ThreeNodes, directory: Path, **settings: object) -> dict[str, object]:
    """What the command says, on a list of all nodes."""
    variables = nodes.variables() | {"data_dir": directory} | settings
    environment = {f"BROKER_PLANE_{name.upper()}": str(value) for name, value in variables.items()}
    done = await anyio.to_thread.run_sync(
        lambda: CliRunner().invoke(app_of(), ["doctor", "--json"], env=environment, catch_exceptions=False)
    )
    said: dict[str, object] = json.loads(done.stdout)
    return said


async def test_doctor_names_streams_with_fewer_replicas(nodes: ThreeNodes, tmp_path: Path) -> None:
    nodes.start()
    async with Plane.connect(nodes.settings(replicas=1, owner="alone", bridge_url="http://127.0.0.1:1")):
        pass
    said = await doctor(nodes, tmp_path)
    assert "OBJ_bp_alone: fewer than 3" in str(said["replicas"])
    assert "--replicas 3" in str(said["replicas"])
