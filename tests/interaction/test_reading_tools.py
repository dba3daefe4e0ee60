"""The reading tools through the SDK's client: a model decides on a few rows of a large table without reading it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp import Client
from mcp.types import CallToolResult

from broker_plane import Plane, PlaneServer
from broker_plane.config import Settings
from tests.interaction.conftest import text_of

pytestmark = pytest.mark.anyio
ROWS: list[dict[str, Any]] = [
    {"id": number, "area": ("CA", "TX", "NY")[number % 3], "severity": number % 5, "note": f"note {number} " * 5}
    for number in range(2_000)
]


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    server = PlaneServer("reading", settings=settings, reading_tools=True)

    @server.resource_tool()
    def alerts() -> list[dict[str, Any]]:
        """All alerts."""
        return ROWS

    @server.resource_tool()
    def manual() -> bytes:
        """A text."""
        return b"# Start\n" + b"a line\n" * 500 + b"# Ende: gr\xc3\xb6\xc3\x9fer\n"

    async with Client(server.mcp) as connected:
        yield connected


async def url_of(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    fields: dict[str, Any] = json.loads(text_of(result))
    return str(fields["resource_url"])


async def read(client: Client, **arguments: Any) -> CallToolResult:
    return await client.call_tool("read_body", arguments)


async def test_the_tools_are_listed_as_read_only_and_without_output_schema(client: Client) -> None:
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == {"alerts", "manual", "read_body", "describe_body"}
    for name in ("read_body", "describe_body"):
        assert tools[name].output_schema is None
        annotations = tools[name].annotations
        assert annotations is not None
        assert annotations.read_only_hint
        assert tools[name].input_schema["required"] == ["resource_url"]


async def test_a_server_has_them_on_request_only(settings: Settings) -> None:
    async with Client(PlaneServer("plain", settings=settings).mcp) as client:
        assert (await client.list_tools()).tools == []


async def test_a_model_finds_its_rows_in_few_tokens_and_the_grant_stays_whole(
    client: Client, settings: Settings
) -> None:
    url = await url_of(client, "alerts", abstract_domains="id")
    described = await client.call_tool("describe_body", {"resource_url": url})
    assert "- area: str; nulls 0, distinct 3, min CA, max TX" in text_of(described)
    found = await read(client, resource_url=url, where="severity = 4 and area = 'CA'", columns="id, area", head=2)
    assert text_of(found) == "_row_id,id,area\n9,9,CA\n24,24,CA\n[2 rows of 133, from number 9; next: rows=25-]"
    grep = await read(client, resource_url=url, grep="note 1234 ", columns=["id", "severity", "note"])
    assert text_of(grep).splitlines()[1].startswith("1234,1234,4,note 1234")
    assert found.structured_content is None
    assert [block.type for block in found.content] == ["text"]
    spent = sum(len(text_of(result).encode()) for result in (described, found, grep)) // 4
    assert spent < 400


async def test_pages_are_read_by_what_next_says(client: Client) -> None:
    url = await url_of(client, "alerts", abstract_domains="id")
    arguments: dict[str, Any] = {"resource_url": url, "columns": "area", "where": "severity = 0"}
    ids: list[str] = []
    while True:
        text = text_of(await read(client, **arguments))
        *rows, place = text.splitlines()
        ids += [row.partition(",")[0] for row in rows[1:]]
        if "next: " not in place:
            break
        name, _, value = place.removesuffix("]").rpartition("next: ")[2].partition("=")
        arguments = {"resource_url": url, "columns": "area", "where": "severity = 0", name: value}
    assert ids == [str(number) for number in range(0, 2_000, 5)]


async def test_a_text_is_outlined_and_read(client: Client) -> None:
    url = await url_of(client, "manual")
    described = text_of(await client.call_tool("describe_body", {"resource_url": f"`{url}`"}))
    assert described.splitlines()[1:] == ["1: # Start", "502: # Ende: größer"]
    assert "lines 502" in described
    assert text_of(await read(client, resource_url=url, tail="1")).startswith("# Ende: größer\n[1 line of 502")


async def test_mistakes_are_answers_that_say_what_to_do(client: Client, settings: Settings) -> None:
    url = await url_of(client, "alerts", abstract_domains="id")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, "resource_url is missing"),
        ({"resource_url": url, "lines": 3}, "read_body has no argument lines"),
        ({"resource_url": url, "page": 1, "tail": 3}, "Give one of"),
        ({"resource_url": url, "grep": "("}, "RE2"),
        ({"resource_url": url, "json_path": "$"}, "has rows"),
        ({"resource_url": url, "where": "nope = 1"}, "There is no column"),
        ({"resource_url": url.replace("127.0.0.1", "10.1.2.3")}, "BROKER_PLANE_TRUSTED_HOSTS"),
        ({"resource_url": url[:-4]}, ""),
    ]
    for arguments, said in wrong:
        result = await read(client, **arguments)
        assert result.is_error, arguments
        assert said.lower() in text_of(result).lower(), text_of(result)
    async with Plane.connect(settings) as plane:
        await plane.revoke(url)
    for tool in ("read_body", "describe_body"):
        assert "revoked" in text_of(await client.call_tool(tool, {"resource_url": url}))
