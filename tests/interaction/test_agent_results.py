"""Large results of plain tools in the plane: what the model reads of them, reads on, queries and hands on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp import Client
from mcp.server import MCPServer

from broker_plane import Plane
from broker_plane.agent.client import PlaneClient
from broker_plane.agent.dispatcher import Dispatcher
from broker_plane.agent.plane_bodies import PlaneBodies
from broker_plane.agent.reading_tools import agent_tools
from broker_plane.config import Settings

pytestmark = pytest.mark.anyio
CSV = "id,team,amount\r\n" + "".join(f"{n},{'AB'[n % 2]},{n * 2}\r\n" for n in range(90_000))
"""1.2 MB."""


@pytest.fixture
async def plane(settings: Settings) -> AsyncIterator[Plane]:
    async with Plane.connect(settings) as plane:
        yield plane


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    server = MCPServer("plain")

    @server.tool(structured_output=False)
    def read_file() -> str:
        return CSV

    @server.tool()
    def rows() -> list[dict[str, Any]]:
        return [{"id": n, "note": "x" * 200} for n in range(6000)]

    async with Client(server) as opened:
        yield opened


async def test_a_plain_result_goes_to_the_plane_as_behind_the_proxy(client: Client, plane: Plane) -> None:
    agent = PlaneClient(client, Dispatcher(PlaneBodies(plane)))
    assert {tool.name for tool in agent.reading_tools()} == {"read_body", "describe_body", "query_body"}
    said = json.loads(await asked(agent, "read_file"))
    assert said["next_step"].startswith("90,000 rows of 3 columns. To read on: query_body(sql,")
    assert (said["shape"], said["media_type"], said["size"]) == ("csv", "text/csv; charset=utf-8", len(CSV))
    url = said["resource_url"]
    for _ in range(2):  # unlimited within its time to live
        assert await plane.pull(url) == CSV.encode()
    assert "7,7,B,14" in await asked(agent, "read_body", resource_url=url, rows="7")
    assert "amount: int" in await asked(agent, "describe_body", resource_url=url)
    sql = "SELECT team, sum(amount) AS total FROM a GROUP BY team ORDER BY team"
    assert "A,4049910000" in await asked(agent, "query_body", sql=sql, bodies={"a": url})
    assert agent.dispatcher.transcript.tokens < 2_500
    assert agent.tokens.kept_out > len(CSV) / 8


async def test_without_a_plane_sql_over_a_handle_is_refused_in_a_sentence(client: Client, plane: Plane) -> None:
    agent = PlaneClient(client)
    assert {tool.name for tool in agent.reading_tools()} == {"read_body", "describe_body"}
    handle = json.loads(await asked(agent, "rows"))["resource_url"]
    assert "5999," in await asked(agent, "read_body", resource_url=handle, tail=1, columns=["id"])
    agent.reading_tools(plane)
    result = await agent.call("query_body", {"sql": "SELECT 1", "bodies": {"a": handle}})
    assert result.is_error and "read a ddi:// handle with read_body" in result.content[0].text  # type: ignore[union-attr]
    published = await plane.publish([{"n": 1}], uses="unlimited")
    assert "0,1" in await asked(agent, "read_body", resource_url=published.resource_url)


async def test_a_plane_alone_is_read_as_well_and_so_is_a_sync_body_in_it(plane: Plane) -> None:
    published = await plane.publish([{"n": 1}, {"n": 2}], uses="unlimited")
    read = agent_tools(plane)[0]
    assert (await read.call({"resource_url": published.resource_url, "where": "n > 1"})).text.startswith(
        "_row_id,n\n1,2"
    )
    dispatcher = Dispatcher(PlaneBodies(plane))
    read = agent_tools(dispatcher)[0]
    seen = await dispatcher.result("get", {"abstract": [], "body": [{"_row_id": 0, "note": "abc"}]})
    answer = await read.call({"resource_url": seen["resource_url"], "json_path": "$[0].note"})
    assert answer.text.startswith('"abc"'), answer.text
    call = await dispatcher.call("draw", {"resource_url": seen["resource_url"]})  # looking used nothing up
    assert json.loads(call.arguments["body_data"]) == [{"_row_id": 0, "note": "abc"}]


async def test_a_plane_that_is_away_loses_no_result(settings: Settings) -> None:
    async with Plane.connect(settings) as plane:
        dispatcher = Dispatcher(PlaneBodies(plane))
    assert await dispatcher.result("read_file", CSV) is CSV


async def asked(agent: PlaneClient, tool: str, **arguments: Any) -> str:
    result = await agent.call(tool, arguments)
    assert result.content[0].type == "text"
    assert not result.is_error, result.content[0].text
    return result.content[0].text
