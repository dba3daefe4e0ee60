"""What must pass: every tool, resource, prompt, notification, error and block, in both eras, over each transport."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError

from broker_plane.reading.tools import reading_tools

from .conftest import EACH, Open, there

pytestmark = pytest.mark.anyio
MANY = 100


@pytest.fixture(scope="module", params=EACH)
def way(request: pytest.FixtureRequest) -> Any:
    """The transports of both sides, and the era."""
    return request.param


@pytest.fixture(scope="module")
async def client(way: tuple[str, str], proxied: Open) -> AsyncIterator[Client]:
    """One connection for all tests of a way."""
    async with proxied(*way) as connected:
        yield connected


async def test_what_the_upstream_offers_is_offered(client: Client, way: tuple[str, str], upstream_url: str) -> None:
    async with Client(upstream_url, mode=way[1]) as alone:
        assert client.session.protocol_version == alone.session.protocol_version
        assert client.session.instructions == alone.session.instructions
        assert client.session.server_info == alone.session.server_info
        there, here = await alone.list_tools(), await client.list_tools()
        names = [tool.name for tool in here.tools]
        assert names == [*(tool.name for tool in there.tools), *(tool.name for tool in reading_tools())]
        assert client.server_capabilities == alone.server_capabilities
        for method in ("list_resources", "list_resource_templates", "list_prompts"):
            assert await getattr(client, method)() == await getattr(alone, method)()
        assert (await client.read_resource("test://page/7")).contents == (
            await alone.read_resource("test://page/7")
        ).contents
        assert await client.get_prompt("ask", {"topic": "x"}) == await alone.get_prompt("ask", {"topic": "x"})
        for tool, arguments in (
            ("echo", {"text": "Zürich"}),
            ("media", {"size": 200_000}),
            ("fails", {"size": 200_000}),
        ):
            assert await client.call_tool(tool, arguments) == await alone.call_tool(tool, arguments)
        with pytest.raises(MCPError) as alone_says:
            await alone.get_prompt("nothing")
        with pytest.raises(MCPError) as proxy_says:
            await client.get_prompt("nothing")
        assert proxy_says.value.error == alone_says.value.error


async def test_progress_arrives_before_the_result(client: Client) -> None:
    seen: list[tuple[float, str | None]] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, message))

    result = await client.call_tool("steps", {"count": 3}, progress_callback=tell)
    assert not result.is_error
    assert sorted(seen) == [(1, "step 0"), (2, "step 1"), (3, "step 2")]


async def test_a_cancellation_reaches_the_upstream(client: Client, tmp_path: Path) -> None:
    mark = tmp_path / "cancelled"
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "waits", {"path": str(mark)})
            await there(mark.with_suffix(".begun"))
            tasks.cancel_scope.cancel()
        await there(mark)
    assert (await client.call_tool("echo", {"text": "still there"})).structured_content == {"result": "still there"}


async def test_many_calls_at_once_all_come_back(client: Client) -> None:
    texts: dict[int, str] = {}

    async def one(number: int) -> None:
        tool, arguments = ("rows", {"count": 500}) if number % 10 == 0 else ("echo", {"text": f"text {number}"})
        result = await client.call_tool(tool, arguments)
        assert not result.is_error
        assert result.content[0].type == "text"
        texts[number] = result.content[0].text

    await client.list_tools()
    async with anyio.create_task_group() as tasks:
        for number in range(MANY):
            tasks.start_soon(one, number)
    assert len(texts) == MANY
    for number, text in texts.items():
        assert "resource_url" in text if number % 10 == 0 else text == f"text {number}"
