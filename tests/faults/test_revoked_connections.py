"""A revocation in a cluster: the connections of the grant end on every node."""

from __future__ import annotations

from contextlib import AsyncExitStack

import nats.errors
import pytest

from broker_plane import Plane
from broker_plane.wire.names import asker_inbox, asker_of
from tests.boundary.client import Client
from tests.faults.three_nodes import ThreeNodes, after

pytestmark = [pytest.mark.anyio, pytest.mark.full]
SECONDS = 10
"""Ten times what a revocation may take."""


def client(nodes: ThreeNodes, number: int, grant: str) -> Client:
    """A client of one node that has nothing but this grant."""
    url = f"nats://127.0.0.1:{nodes.cluster.nodes[number].port}"
    return Client(url, asker_of(grant), inbox=asker_inbox(asker_of(grant)), token=grant)


async def grant_of(plane: Plane) -> str:
    """A new grant for a body; a cluster that has just formed may need a moment."""
    grants: list[str] = []

    async def publish() -> None:
        grants.append((await plane.publish([{"a": 1}], uses="unlimited")).grant)

    await after(publish)
    return grants[0]


async def test_the_connections_of_a_revoked_grant_end_on_every_node(nodes: ThreeNodes) -> None:
    async with Plane.connect(nodes.settings(0)) as plane, AsyncExitStack() as stack:
        revoked, other = await grant_of(plane), await grant_of(plane)
        guests = [await stack.enter_async_context(client(nodes, number, revoked)) for number in range(3)]
        bystanders = [await stack.enter_async_context(client(nodes, number, other)) for number in range(3)]
        await plane.revoke(revoked)
        for guest in guests:
            await guest.ended(SECONDS)
        for number in range(3):
            with pytest.raises(nats.errors.Error):
                await stack.enter_async_context(client(nodes, number, revoked))
        for bystander in bystanders:
            assert await bystander.publish("bp.pull.x.y")  # refused, and so it is still there


async def test_a_node_that_is_away_does_not_keep_the_others_waiting(nodes: ThreeNodes) -> None:
    """The last test of these nodes: one of them stays dead."""
    async with Plane.connect(nodes.settings(0)) as plane, AsyncExitStack() as stack:
        grant = await grant_of(plane)
        guest = await stack.enter_async_context(client(nodes, 1, grant))
        nodes.cluster.nodes[2].kill()
        await after(lambda: plane.revoke(grant))
        await guest.ended(SECONDS)
