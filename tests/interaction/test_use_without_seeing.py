"""An agent filters a table that it never reads, and hands on a grant that it cannot read with either."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp import Client
from msgspec.structs import replace

from broker_plane import Plane, PlaneServer
from broker_plane.config import Settings
from broker_plane.errors import AuthenticationRequiredError, ForbiddenError
from tests.interaction.conftest import error_of, shape_of, text_of

pytestmark = pytest.mark.anyio

COUNT = 2_000
SEEN = "seen-by-the-consumer"


@pytest.fixture
async def bridge_url(settings: Settings) -> AsyncIterator[str]:
    """A bridge that knows nobody's token: over HTTP, nobody is the audience of anything."""
    async with Plane.connect(settings) as plane:
        yield plane.bridge_url


async def test_a_consumer_redeems_what_the_agent_cannot_read(settings: Settings, bridge_url: str) -> None:
    rows = [{"id": row, "level": row % 10, "text": f"{SEEN}-{os.urandom(8).hex()}"} for row in range(COUNT)]
    taken: list[dict[str, Any]] = []
    common = replace(settings, bridge_url=bridge_url)
    source = PlaneServer("source", settings=common)
    charts = PlaneServer("charts", settings=replace(common, puller_name="charts"))

    @source.resource_tool()
    def table() -> list[dict[str, Any]]:
        return rows

    @charts.consumer_tool()
    async def draw(rows: list[dict[str, Any]]) -> str:
        taken.extend(rows)
        return f"{len(rows)} rows drawn"

    through_the_agent: list[str] = []
    agent_settings = replace(common, puller_name="agent")
    async with Client(source.mcp) as reading, Client(charts.mcp) as drawing, Plane.connect(agent_settings) as agent:
        result = await reading.call_tool("table", {"abstract_domains": "id"})
        through_the_agent.append(result.model_dump_json())
        url = shape_of(result)["resource_url"]
        visible = agent.narrow(url, columns=["id", "level"])
        look = await agent.preview(visible.resource_url, where="level = 7", sample=3)
        through_the_agent.append(json.dumps(look.to_wire()))
        assert look.count == COUNT // 10
        handed = agent.narrow(url, where="level = 7", columns=["text"], audience="charts", uses=1)

        for attempt in (handed.resource_url, agent.narrow(handed.resource_url, first=1).resource_url):
            for refusal, pulling in (
                (ForbiddenError, agent.pull(attempt, via="nats")),
                (AuthenticationRequiredError, agent.pull(attempt, via="http")),
                (ForbiddenError, agent.preview(attempt, via="nats")),
                (ForbiddenError, agent.pull(agent.narrow(attempt, audience="agent").resource_url, via="nats")),
            ):
                with pytest.raises(refusal) as refused:
                    await pulling
                through_the_agent.append(str(refused.value))

        drawn = await drawing.call_tool("draw", {"resource_url": handed.resource_url})
        through_the_agent.append(drawn.model_dump_json())
        assert text_of(drawn) == f"{COUNT // 10} rows drawn"
        again = await drawing.call_tool("draw", {"resource_url": handed.resource_url})
        through_the_agent.append(again.model_dump_json())
        assert "used up" in error_of(again)

    assert taken == [{"text": row["text"]} for row in rows if row["level"] == 7]
    assert not any(SEEN in said for said in through_the_agent)
