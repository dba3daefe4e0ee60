"""Consumer tools: from what a model hands on to the rows that the function gets, or an error that says what to do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp.server.mcpserver import Context

from broker_plane import PlaneServer
from broker_plane.errors import ConfigError
from tests.interaction.conftest import Agent, error_of, shape_of, text_of
from tests.interaction.tables import typed, wide

pytestmark = pytest.mark.anyio
ROWS = [
    {"event": "Flood", "area": "CA", "n": 1},
    {"event": "Wind", "area": "NV", "n": 2},
    {"event": "Heat", "area": "AZ", "n": 3},
]


@pytest.fixture
def got(server: PlaneServer) -> list[Any]:
    """What the consumer tool `consume` was called with; `table` is the resource tool beside it."""
    calls: list[Any] = []

    @server.resource_tool()
    def table(uses: int = 1) -> list[dict[str, Any]]:
        return ROWS

    @server.consumer_tool()
    async def consume(rows: list[dict[str, Any]], title: str = "") -> str:
        """Take rows."""
        calls.append(rows)
        return f"{len(rows)} rows {title}".strip()

    return calls


async def handed(agent: Agent, domains: str = "event") -> tuple[list[dict[str, Any]], str]:
    shape = shape_of(await agent("table", abstract_domains=domains))
    return shape["abstract"], shape["resource_url"]


async def test_chosen_rows_arrive_with_all_their_columns_in_the_abstracts_order(agent: Agent, got: list[Any]) -> None:
    abstract, url = await handed(agent)
    result = await agent("consume", abstract_data=json.dumps([abstract[2], abstract[0]]), resource_url=url, title="t")
    assert text_of(result) == "2 rows t"
    assert got == [[ROWS[2], ROWS[0]]]


async def test_without_an_abstract_the_whole_table_arrives(agent: Agent, got: list[Any]) -> None:
    _, url = await handed(agent)
    assert text_of(await agent("consume", resource_url=url)) == "3 rows"
    assert got == [ROWS]


async def test_an_empty_abstract_is_no_rows_and_uses_nothing_up(agent: Agent, got: list[Any]) -> None:
    _, url = await handed(agent)
    assert text_of(await agent("consume", abstract_data="[]", resource_url=url)) == "0 rows"
    assert text_of(await agent("consume", resource_url=url)) == "3 rows"


async def test_sync_mode_merges_what_came_through_the_model(agent: Agent, got: list[Any]) -> None:
    shape = shape_of(await agent("table", abstract_domains="event", mode="sync"))
    await agent("consume", abstract_data=json.dumps(shape["abstract"][1:]), body_data=json.dumps(shape["body"]))
    assert got == [ROWS[1:]]


async def test_columns_are_renamed_by_the_mapping(agent: Agent, got: list[Any]) -> None:
    _, url = await handed(agent)
    await agent("consume", resource_url=url, column_mapping='{"event": "kind"}')
    assert got[0][0] == {"kind": "Flood", "area": "CA", "n": 1}


async def test_an_array_in_place_of_its_text_is_taken_as_well(agent: Agent, got: list[Any]) -> None:
    abstract, url = await handed(agent)
    await agent("consume", abstract_data=abstract, resource_url=url, column_mapping={"n": "number"})
    assert got[0][0] == {"event": "Flood", "area": "CA", "number": 1}


async def test_types_survive_the_whole_way(server: PlaneServer, agent: Agent) -> None:
    calls: list[Any] = []
    server.resource_tool("table")(typed)

    @server.consumer_tool()
    def consume(rows: list[dict[str, Any]]) -> str:
        calls.append(rows)
        return "ok"

    abstract, url = await handed(agent, "cost,when")
    await agent("consume", abstract_data=json.dumps(abstract), resource_url=url)
    assert repr(calls) == repr([typed()])


async def test_functions_get_the_form_that_they_ask_for(server: PlaneServer, agent: Agent) -> None:
    calls: list[Any] = []

    @server.resource_tool()
    def raw() -> bytes:
        return b"raw bytes"

    @server.resource_tool()
    def table() -> list[dict[str, Any]]:
        return wide(2_000, 3)

    @server.consumer_tool()
    def as_bytes(body: bytes) -> str:
        calls.append(body)
        return "ok"

    @server.consumer_tool()
    def as_path(body: Path) -> str:
        calls.append(body.read_bytes())
        return "ok"

    @server.consumer_tool()
    async def as_stream(rows: AsyncIterator[dict[str, Any]], ctx: Context) -> str:
        assert ctx.request_id
        calls.append([row async for row in rows])
        return "ok"

    for tool in ("as_bytes", "as_path"):
        assert text_of(await agent(tool, resource_url=shape_of(await agent("raw"))["resource_url"])) == "ok"
    _, url = await handed(agent, "c0")
    assert text_of(await agent("as_stream", resource_url=url)) == "ok"
    assert calls == [b"raw bytes", b"raw bytes", wide(2_000, 3)]
    assert "opaque" in error_of(await agent("as_bytes", resource_url=(await handed(agent, "c0"))[1]))


BAD = [
    ({"abstract_data": "{"}, "abstract_data is not JSON"),
    ({"abstract_data": '{"_row_id": 0}'}, "JSON array of row objects"),
    ({"abstract_data": '[{"event": "Flood"}]'}, "row 0 needs its _row_id and has none"),
    ({"abstract_data": '[{"_row_id": "0"}]'}, "not a whole number"),
    ({"abstract_data": '[{"_row_id": 0}, {"_row_id": 0}]'}, "occurs twice"),
    ({"abstract_data": '[{"_row_id": 99}]'}, "no row 99"),
    ({"abstract_data": '[{"_row_id": 0, "event": "Hail"}]'}, "Row 0, column 'event'"),
    ({"abstract_data": '[{"_row_id": 0, "score": 1}]'}, "a column 'score'"),
    ({"column_mapping": "["}, "column_mapping is not JSON"),
    ({"column_mapping": '{"nothing": "x"}'}, "renames 'nothing'"),
    ({"column_mapping": '{"event": "area"}'}, "both 'area'"),
    ({"column_mapping": '{"event": "_row_id"}'}, "may not touch _row_id"),
    ({"body_data": '[{"_row_id": 0, "area": "CA"}]'}, "not both"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD)
async def test_bad_input_is_named_and_the_function_is_not_called(
    agent: Agent, got: list[Any], arguments: dict[str, str], said: str
) -> None:
    _, url = await handed(agent)
    assert said in error_of(await agent("consume", resource_url=url, **arguments))
    assert got == []


@pytest.mark.parametrize(("arguments", "said"), BAD)
async def test_bad_input_uses_nothing_up(agent: Agent, got: list[Any], arguments: dict[str, str], said: str) -> None:
    _, url = await handed(agent)
    assert (await agent("consume", resource_url=url, **arguments)).is_error
    assert text_of(await agent("consume", resource_url=url)) == "3 rows"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "Pass the resource_url"),
        ("http://example.org/s2sp/data/x", "as it was given"),
        ("not a url", "no grant"),
    ],
)
async def test_a_bad_url_says_what_to_pass(agent: Agent, got: list[Any], url: str, said: str) -> None:
    assert said in error_of(await agent("consume", resource_url=url))


async def test_a_host_that_is_not_trusted_is_named_with_the_setting(agent: Agent, got: list[Any]) -> None:
    _, url = await handed(agent)
    elsewhere = url.replace("127.0.0.1", "bridge.example")
    assert "BROKER_PLANE_TRUSTED_HOSTS" in error_of(await agent("consume", resource_url=elsewhere))


async def test_a_used_and_a_forged_grant_are_told_apart(agent: Agent, got: list[Any]) -> None:
    _, url = await handed(agent)
    await agent("consume", resource_url=url)
    assert "used up" in error_of(await agent("consume", resource_url=url))
    forged = url[:-1] + ("A" if url[-1] != "A" else "B")
    assert "Unknown or expired resource" in error_of(await agent("consume", resource_url=forged))


async def test_a_function_that_raises_has_spent_the_use_unless_it_was_still_reading_a_stream(
    server: PlaneServer, agent: Agent, got: list[Any]
) -> None:
    @server.consumer_tool
    def late(rows: list[dict[str, Any]]) -> str:
        raise ValueError("no")

    @server.consumer_tool
    async def early(rows: AsyncIterator[dict[str, Any]]) -> str:
        async for _ in rows:
            raise ValueError("no")
        return "none"

    _, url = await handed(agent)
    for tool in ("early", "early", "late"):
        assert "ValueError: no" in error_of(await agent(tool, resource_url=url))
    assert "it was for 1 delivery" in error_of(await agent("late", resource_url=url))


async def test_a_trusted_agent_may_change_the_abstract(server: PlaneServer, agent: Agent, got: list[Any]) -> None:
    calls: list[Any] = []

    @server.consumer_tool(trust="agent")
    def overriding(rows: list[dict[str, Any]]) -> str:
        calls.append(rows)
        return "ok"

    abstract, url = await handed(agent)
    changed = [{**abstract[0], "event": "Hail", "score": 0.5}]
    await agent("overriding", abstract_data=json.dumps(changed), resource_url=url)
    assert calls == [[{**ROWS[0], "event": "Hail", "score": 0.5}]]


async def test_the_tools_parameters_are_those_of_s2sp_and_the_authors_own(server: PlaneServer, got: list[Any]) -> None:
    tool = next(tool for tool in await server.mcp.list_tools() if tool.name == "consume")
    assert set(tool.input_schema["properties"]) == {
        "title",
        "abstract_data",
        "resource_url",
        "body_data",
        "column_mapping",
    }
    assert "required" not in tool.input_schema
    assert tool.description is not None and tool.description.startswith("Take rows.")


async def test_a_function_without_a_parameter_for_the_rows_is_refused_at_once(server: PlaneServer) -> None:
    with pytest.raises(ConfigError, match="needs a parameter for the rows"):

        @server.consumer_tool()
        def consume(ctx: Context) -> str:
            return ""
