"""An agent with PlaneClient, whose bodies wait in its memory or in the plane."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp import Client

from broker_plane import Plane, PlaneServer
from broker_plane.agent.client import PlaneClient
from broker_plane.agent.dispatcher import Dispatcher
from broker_plane.agent.plane_bodies import PlaneBodies
from broker_plane.config import Settings
from broker_plane.errors import AgentError, LeakError, StaleHandleError

pytestmark = pytest.mark.anyio
ROWS = [{"name": f"Person {n}", "team": "AB"[n % 2], "note": f"a long note about {n} " * 20} for n in range(200)]


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    server = PlaneServer("people", settings=settings)

    @server.resource_tool()
    def get_people() -> list[dict[str, Any]]:
        return ROWS

    @server.consumer_tool()
    def count(rows: list[dict[str, Any]], title: str = "") -> str:
        return f"{title}{len(rows)} {sum(len(row['note']) for row in rows)}"

    async with Client(server.mcp) as opened:
        yield opened


@pytest.mark.parametrize("mode", ["async", "sync"])
async def test_the_agent_hands_on_what_it_never_saw(client: Client, mode: Any) -> None:
    agent = PlaneClient(client)
    found = await agent.abstract("get_people", columns=["name", "team"], mode=mode)
    assert found.total_rows == len(ROWS)
    assert found.resource_url.startswith("ddi://" if mode == "sync" else "http://")
    chosen = [row for row in found.rows if row["team"] == "B"]
    said = await agent.hand_on("count", found, chosen, title="B: ")
    assert said == f"B: 100 {sum(len(row['note']) for row in ROWS if row['team'] == 'B')}"
    assert agent.dispatcher.transcript.assert_no_body_leaked(ROWS, ["name", "team"]) == len(ROWS)
    body = sum(len(row["note"]) for row in ROWS)
    if mode == "sync":
        assert agent.tokens.kept_out > body / 4
    assert agent.tokens.kept_out > 0 and agent.tokens.shown < body / 4


async def test_a_planted_leak_is_found(client: Client) -> None:
    agent = PlaneClient(client, Dispatcher(threshold=1_000_000))
    await agent.call("get_people")
    with pytest.raises(LeakError, match="result of get_people shows column 'note'"):
        agent.dispatcher.transcript.assert_no_body_leaked(ROWS, ["name", "team"])


async def test_a_handle_that_was_used_is_an_error(client: Client) -> None:
    agent = PlaneClient(client)
    found = await agent.abstract("get_people", columns=["name"], mode="sync")
    await agent.hand_on("count", found)
    with pytest.raises(StaleHandleError):
        await agent.hand_on("count", found)


async def test_a_call_that_the_server_refuses_leaves_the_handle_good(client: Client) -> None:
    agent = PlaneClient(client)
    found = await agent.abstract("get_people", columns=["name"], mode="sync")
    with pytest.raises(AgentError, match="count failed"):
        await agent.hand_on("count", found, [{"name": "nobody"}])
    assert (await agent.hand_on("count", found)).startswith("200 ")


async def test_an_agent_that_crashed_picks_its_bodies_up_again(client: Client, settings: Settings) -> None:
    async with Plane.connect(settings) as plane:
        before = PlaneClient(client, Dispatcher(PlaneBodies(plane)))
        found = await before.abstract("get_people", columns=["name"], mode="sync")
    remembered = json.dumps(found.said)
    assert "a long note" not in remembered
    async with Plane.connect(settings) as plane:
        after = Dispatcher(PlaneBodies(plane))
        call = await after.call("count", {"resource_url": json.loads(remembered)["resource_url"]})
        assert [row["note"] for row in json.loads(call.arguments["body_data"])] == [row["note"] for row in ROWS]
        for handle in (found.resource_url, "ddi://made-up"):
            with pytest.raises(StaleHandleError):
                await after.call("count", {"resource_url": handle})
