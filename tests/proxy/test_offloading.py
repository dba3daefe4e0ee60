"""What must not pass: large results. They are answered by an abstract and an offer, and a consumer gets all rows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import validate
from msgspec.structs import replace

from broker_plane import Plane
from broker_plane.agent.transcript import Transcript
from broker_plane.config import Settings
from broker_plane.wire.names import EXTENSION
from tests.trusting import HOSTS

from .conftest import Open
from .upstream import SECRET, digest, table

pytestmark = pytest.mark.anyio
ROWS = 24_000
"""5 MB as JSON."""


def said(result: Any) -> dict[str, Any]:
    assert not result.is_error, result.content[0].text
    shape: dict[str, Any] = json.loads(result.content[0].text)
    assert result.structured_content == shape
    return shape


@pytest.mark.parametrize(("way", "era"), [("command", "auto"), pytest.param("http", "legacy", marks=pytest.mark.full)])
async def test_five_megabytes_cost_the_agent_little_and_a_consumer_gets_all_rows(
    proxied: Open, way: str, era: str
) -> None:
    rows = table(ROWS)
    assert len(json.dumps(rows)) > 5_000_000
    transcript = Transcript()
    async with proxied(way, era) as client:
        await client.list_tools()
        found = await client.call_tool("rows", {"count": ROWS})
        url = said(found)["resource_url"]
        drawn = await client.call_tool("draw", {"resource_url": url, "title": "all"})
    assert found.content[0].type == drawn.content[0].type == "text"
    # The text of each result, which is what models are given; structured content says the same once more.
    transcript.returned("rows", found.content[0].text)
    transcript.returned("draw", drawn.content[0].text)
    assert drawn.content[0].text == f"all:{ROWS}:{digest(rows)}"
    assert transcript.tokens < 1_000
    assert said(found)["total_rows"] == ROWS
    assert [block.type for block in found.content] == ["text", "resource_link"]
    assert found.meta is not None and found.meta[EXTENSION]["rows"] == ROWS


async def test_a_table_gains_abstract_domains_and_a_consumer_takes_the_chosen_rows(proxied: Open) -> None:
    async with proxied("http", "auto") as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {"abstract_domains", "mode"} <= set(tools["rows"].input_schema["properties"])
        assert "abstract_domains" not in tools["echo"].input_schema["properties"]
        assert tools["draw"].input_schema["required"] == []
        shape = said(await client.call_tool("rows", {"count": 9, "abstract_domains": "kind"}))
        assert SECRET not in json.dumps(shape)
        chosen = [row for row in shape["abstract"] if row["kind"] == "k1"]
        handed = {"resource_url": shape["resource_url"], "abstract_data": json.dumps(chosen)}
        drawn = await client.call_tool("draw", handed)
        in_sync = said(await client.call_tool("rows", {"count": 9, "abstract_domains": "kind", "mode": "sync"}))
        refused = await client.call_tool("rows", {"count": 9, "abstract_domains": "none"})
    wanted = [row for row in table(9) if row["kind"] == "k1"]
    assert drawn.content[0].type == "text"
    assert drawn.content[0].text == f":3:{digest(wanted)}"
    assert [row["id"] for row in in_sync["body"]] == list(range(9))
    assert refused.is_error


async def test_a_tool_that_gave_a_table_once_gains_the_parameters(proxied: Open) -> None:
    async with proxied("command", "auto") as client:
        before = {tool.name: tool for tool in (await client.list_tools()).tools}["rows_in_text"]
        assert "abstract_domains" not in before.input_schema["properties"]
        small = await client.call_tool("rows_in_text", {"count": 2})
        assert small.content[0].type == "text" and json.loads(small.content[0].text) == table(2)
        after = {tool.name: tool for tool in (await client.list_tools(cache_mode="bypass")).tools}["rows_in_text"]
        assert "abstract_domains" in after.input_schema["properties"]
        large = await client.call_tool("rows_in_text", {"count": 1_000})
    assert [block.type for block in large.content] == ["text", "resource_link", "image"]


async def test_output_schemas_are_true_of_what_comes(proxied: Open) -> None:
    async with proxied("http", "auto") as client:
        schemas = {tool.name: tool.output_schema for tool in (await client.list_tools()).tools}
        for tool, count in (("rows", 1), ("rows", 2_000), ("report", 1), ("report", 10_000)):
            result = await client.call_tool(tool, {"count": count})
            validate(result.structured_content, schemas[tool] or {})
            assert ("resource_url" in (result.structured_content or {})) == (count > 1)


async def test_text_that_is_no_table_goes_to_the_plane_as_it_is(proxied: Open, settings: Settings) -> None:
    text = "Ein Satz. " * 20_000
    async with proxied("http", "auto") as client:
        shape = said(await client.call_tool("echo", {"text": text}))
    assert shape["size"] == len(text) and shape["preview"].startswith(text[:800]) and len(shape["preview"]) < 850
    assert shape["next_step"].startswith("A text of 1 line, 200,000 bytes. To read on: read_body(")
    async with Plane.connect(replace(settings, trusted_hosts=HOSTS)) as plane:
        assert (await plane.pull(shape["resource_url"], via="http")).decode() == text


async def test_without_a_plane_the_result_comes_inline(proxied: Open, environment: dict[str, str]) -> None:
    away = environment | {"BROKER_PLANE_NATS_URL": "nats://127.0.0.1:1", "BROKER_PLANE_REQUEST_TIMEOUT_SECONDS": "0.3"}
    async with proxied("command", "auto", env=away) as client:
        await client.list_tools()
        result = await client.call_tool("rows", {"count": 1_000})
    assert (result.structured_content or {})["result"] == table(1_000)


async def test_a_body_that_cannot_be_had_is_an_error_that_the_model_can_read(proxied: Open) -> None:
    async with proxied("http", "auto") as client:
        await client.list_tools()
        result = await client.call_tool("draw", {"resource_url": "http://example.com/s2sp/data/x"})
    assert result.is_error
    assert result.content[0].type == "text" and "resource_url" in result.content[0].text
