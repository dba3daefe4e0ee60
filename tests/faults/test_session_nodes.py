"""Three nodes: sessions go on when the leader of their stream dies, and two bridges on different nodes agree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, suppress

import pytest

from broker_plane.errors import BrokerUnavailableError
from broker_plane.plane.sessions.host import SessionHost
from broker_plane.plane.sessions.live import LiveSession
from broker_plane.plane.sessions.tools import SessionTools
from broker_plane.runtime.session_hosting import session_tools
from broker_plane.runtime.wiring import wire
from broker_plane.sessions.folded import Folded
from broker_plane.sessions.participants import Participant
from broker_plane.sessions.policy import parse_policy
from broker_plane.testing.processes import until
from tests.faults.three_nodes import ThreeNodes

pytestmark = pytest.mark.anyio
EDITS = 40
PATIENCE = 120


@pytest.fixture
async def both(nodes: ThreeNodes) -> AsyncIterator[list[SessionTools]]:
    """What two processes on different nodes use."""
    async with AsyncExitStack() as stack:
        tools = []
        for numbers in ((0, 1, 2), (1, 2, 0)):
            settings = nodes.settings(*numbers)
            wiring = await wire(settings.nats_url, settings)
            stack.push_async_callback(wiring.close)
            tools.append(session_tools(wiring, settings, "http://127.0.0.1:1"))
        yield tools


async def edit(live: LiveSession, name: str) -> dict[int, str]:
    """Insert tokens; returns those that were acknowledged, by revision."""
    who, acknowledged = Participant(f"{name}-aaaaaa", name, "editor"), {}
    for number in range(EDITS):
        token = f"{name}{number} "
        with suppress(BrokerUnavailableError):  # the outcome is unknown
            answer = await live.ask({"do": "update", "base": live.revision, "change": [token]}, who)
            acknowledged[int(answer["revision"])] = token.strip()
    return acknowledged


@pytest.mark.full
async def test_the_death_of_a_leader_loses_no_acknowledged_revision(
    nodes: ThreeNodes, both: list[SessionTools]
) -> None:
    policy = parse_policy({"limits": {"operations_per_second": 10_000}})
    hosts = [SessionHost(tools) for tools in both]
    session = await hosts[0].create("", kind="text", sync="ot", policy=policy, owner="default")
    async with asyncio.timeout(PATIENCE), AsyncExitStack() as stack:
        lives = [await stack.enter_async_context(host.open(session)) for host in hosts]
        editing = [asyncio.create_task(edit(live, name)) for live, name in zip(lives, "ab", strict=True)]
        await until(lambda: lives[0].revision > EDITS // 2, "some edits", PATIENCE)
        (await nodes.leader("BP_SESSIONS")).kill()
        acknowledged = await asyncio.gather(*editing)
        async with aclosing(both[1].log.read(session)) as groups:
            entries = [entry async for group in groups for entry in group.entries]
        replayed = Folded.of(entries)
        words = replayed.value.split()
        assert len(words) == len(set(words))
        for tokens in acknowledged:
            assert len(tokens) > EDITS // 2
            assert set(tokens.values()) <= set(words)
            assert all(entries[revision - 1].kind == "operation" for revision in tokens)
        await until(lambda: {live.revision for live in lives} == {entries[-1].revision}, "both to agree", PATIENCE)
        for live in lives:
            async with live.settled() as folded:
                assert (folded.value, folded.state) == (replayed.value, replayed.state)
    for host in hosts:
        await host.close()
