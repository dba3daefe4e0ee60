"""A found agent, in another process, is asked how it would serve a client, and its answer is checked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import nats
import pytest
from msgspec.structs import replace
from nats.aio.msg import Msg

from broker_plane import Plane
from broker_plane.config import Settings
from broker_plane.errors import EntryNotFoundError, PeerError, WireError
from broker_plane.registry.announcement import AgentAnnouncement
from broker_plane.testing.server import NatsServer
from broker_plane.wire.capabilities import Capabilities
from broker_plane.wire.exact_json import dumps, loads
from broker_plane.wire.plane_names import kv_subject
from tests.forked import ForkedActor
from tests.trusting import HOSTS

pytestmark = pytest.mark.anyio

SERVED = {"protocol_id": "https", "endpoint": "https://crm.example/v1", "formats": ["text/csv"], "modes": ["fetch"]}


@pytest.fixture
def agent_id() -> str:
    return f"t{uuid4().hex}"


@pytest.fixture(scope="module")
async def other(nats_server: NatsServer) -> AsyncIterator[str]:
    """The id of an agent in another process."""
    agent_id = f"t{uuid4().hex}"
    actor = ForkedActor("tests.contract.agent_actor", nats_server.url, agent_id)
    await actor.said()
    yield agent_id
    actor.close()


async def test_a_found_agent_makes_a_descriptor_whose_body_arrives(settings: Settings, other: str) -> None:
    async with Plane.connect(replace(settings, trusted_hosts=HOSTS)) as plane:
        (found,) = (await plane.agents.search(other, protocol="http", format="json")).found
        choice = await plane.agents.negotiate(found, about={"table": "customers"})
        assert choice.selected == found.announcement.serves[0]
        assert (choice.level, choice.reason) == (1, "level 1: the client carries out http")
        assert choice.descriptor is not None
        rows = loads(await plane.transfers.fetch(choice.descriptor))
        assert [row["id"] for row in rows] == [1, 2]


async def test_a_refusal_is_the_agents_sentence_and_a_bug_shows_nothing(plane: Plane, other: str) -> None:
    (announcement,) = await plane.agents.get(other)
    with pytest.raises(PeerError, match="There is no table 'orders'"):
        await plane.agents.negotiate(announcement, about={"table": "orders"})
    with pytest.raises(PeerError) as failed:
        await plane.agents.negotiate(announcement, about={"table": "bug"})
    assert "hunter2" not in str(failed.value)
    with pytest.raises(EntryNotFoundError, match="does not answer"):
        await plane.agents.negotiate(announcement, about={"table": "slow"}, seconds=0.2)


async def test_the_agent_is_not_asked_for_what_the_client_cannot_take(plane: Plane, other: str) -> None:
    (announcement,) = await plane.agents.get(other)
    choice = await plane.agents.negotiate(announcement, Capabilities(protocols=("sftp",)), about={"table": "bug"})
    assert (choice.selected, choice.descriptor, choice.level) == (None, None, 0)
    assert "http" in choice.reason
    choice = await plane.agents.negotiate(announcement, Capabilities(protocols=("http",), formats=("csv",)))
    assert "application/json" in choice.reason


async def test_a_request_is_bounded_on_both_sides(plane: Plane, settings: Settings, agent_id: str) -> None:
    async with plane.agents.announce({"agent_id": agent_id, "serves": [SERVED]}) as announcement:
        with pytest.raises(WireError, match="65536"):
            await plane.agents.negotiate(announcement, about={"text": "x" * (1 << 16)})
        subject = f"bp.agent.{agent_id}.{announcement.instance}.negotiate"
        client = await nats.connect(settings.nats_url)
        try:
            for request in (b"x" * (1 << 17), b"[]", b'{"capabilities": 1}', b'{"capabilities": {}, "mode": "beam"}'):
                answer = await client.request(subject, request, timeout=10)
                assert (answer.headers or {})["Nats-Service-Error"]
                assert answer.data == b""
        finally:
            await client.close()


@asynccontextmanager
async def hostile(plane: Plane, settings: Settings, answer: bytes, **headers: str) -> AsyncIterator[AgentAnnouncement]:
    """An agent that anybody with a NATS client announces, and that answers every negotiation with `answer`."""
    agent_id, instance = f"h{uuid4().hex}", "H" * 22
    client = await nats.connect(settings.nats_url)

    async def respond(message: Msg) -> None:
        await client.publish(message.reply, answer, headers=headers or None)

    async with plane.agents.announce({"agent_id": "template", "serves": [SERVED]}) as template:
        wire = template.to_wire() | {"agent_id": agent_id, "instance": instance}
    try:
        await client.subscribe(f"bp.agent.{agent_id}.{instance}.negotiate", cb=respond)
        await client.request(kv_subject("bp_agents", f"{agent_id}.{instance}"), dumps(wire), timeout=10)
        (announcement,) = await plane.agents.get(agent_id)
        yield announcement
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b"{", "not JSON"),
        (b" " * ((256 << 10) + 1), "at most"),
        (dumps({"selected": SERVED | {"endpoint": "https://evil.example"}, "reason": "take it"}), "not announced"),
        (dumps({"selected": SERVED, "reason": "", "descriptor": {"$schema": "tomcp/v0.1"}}), "invalid"),
    ],
)
async def test_an_answer_that_is_not_valid_is_refused(
    plane: Plane, settings: Settings, answer: bytes, word: str
) -> None:
    async with hostile(plane, settings, answer) as announcement:
        with pytest.raises(PeerError, match=word):
            await plane.agents.negotiate(announcement)


async def test_a_refusal_is_shortened_and_shows_no_grant(plane: Plane, settings: Settings) -> None:
    published = await plane.publish([{"a": 1}])
    error = f"see {published.resource_url} {'x ' * 2000}"
    async with hostile(plane, settings, b"", **{"Nats-Service-Error": error}) as announcement:
        with pytest.raises(PeerError) as refused:
            await plane.agents.negotiate(announcement)
    assert published.grant not in str(refused.value)
    assert len(str(refused.value)) < 600
