"""Announcements belong to the role `plane`: nats-server lets nobody else announce, search or be asked."""

from __future__ import annotations

from uuid import uuid4

import pytest

from broker_plane import Plane
from broker_plane.errors import NotPermittedError
from tests.boundary.client import Client
from tests.boundary.conftest import Admit, Join
from tests.boundary.world import MARK, nothing_changes

pytestmark = pytest.mark.anyio

PROFILE = {"serves": [{"protocol_id": "https", "endpoint": "https://crm.example/v1"}], "ttl": 600}


async def test_the_plane_announces_and_finds_with_its_user_of_nats_conf(plane: Plane, join: Join) -> None:
    agent_id = f"t{uuid4().hex}"
    async with plane.agents.announce(PROFILE | {"agent_id": agent_id}) as announcement:
        assert [each.announcement for each in (await plane.agents.search(agent_id)).found] == [announcement]
        assert (await plane.agents.negotiate(announcement)).level == 1
        tool = await join("plane")
        assert agent_id in (await tool.request("$SRV.INFO.agents", b"")).data.decode()


async def test_no_other_role_announces_or_searches(weather: Plane) -> None:
    with pytest.raises(NotPermittedError, match="source"):
        _ = weather.agents


@pytest.mark.parametrize("who", ["weather", "stats", "a grant"])
async def test_nobody_else_reaches_an_announced_agent(
    plane: Plane, weather: Plane, join: Join, admit: Admit, who: str
) -> None:
    agent_id = f"t{uuid4().hex}"
    async with plane.agents.announce(PROFILE | {"agent_id": agent_id}) as announcement:
        published = await plane.publish([{"a": 1}])
        attacker: Client = await (admit(published.grant) if who == "a grant" else join(who))
        name = f"{agent_id}.{announcement.instance}"
        subjects = [
            *(f"$KV.bp_agents.{name}", "$KV.bp_agents.forged.x", "$JS.API.STREAM.MSG.GET.KV_bp_agents"),
            *(f"$JS.API.DIRECT.GET.KV_bp_agents.$KV.bp_agents.{name}", "$JS.API.DIRECT.GET.KV_bp_agents"),
            *("$SRV.INFO", "$SRV.INFO.agents", f"bp.agent.{name}.negotiate"),
        ]
        async with nothing_changes(await join("plane")):
            for subject in subjects:
                assert await attacker.publish(subject, MARK), f"{who} may publish on {subject}"
            for subject in ("$SRV.>", "bp.agent.>", f"bp.agent.{name}.negotiate", "$KV.bp_agents.>"):
                assert await attacker.subscribe(subject), f"{who} may listen on {subject}"
