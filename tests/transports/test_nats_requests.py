"""Requests over NATS, in both eras: tools, progress, subscriptions, cancellation, errors, large messages."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from mcp import Client, MCPError
from mcp.types import ToolListChangedNotification

from broker_plane import Plane
from broker_plane.config import Settings, load_settings
from broker_plane.transports.nats import nats_client
from tests.proxy.conftest import there
from tests.transports.conftest import ERAS, Connect, fronted

pytestmark = pytest.mark.anyio

WAYS = [("2026-07-28", True), ("2026-07-28", False), ("legacy", True)]
each_way = pytest.mark.parametrize(("era", "durable"), WAYS, ids=["durable", "fast", "session"])


@each_way
async def test_a_server_is_used_as_over_http(served: str, connect: Connect, era: str, durable: bool) -> None:
    steps: list[float] = []

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async with connect(served, era, durable=durable) as client:
        assert (await client.call_tool("add", {"a": 3})).structured_content == {"result": 5}
        await client.call_tool("count", {"to": 3}, progress_callback=heard)
        assert steps == [1, 2, 3]
        assert (await client.call_tool("fail", {})).is_error
        assert {tool.name for tool in (await client.list_tools()).tools} > {"add", "count"}
        assert (await client.read_resource("sample://text")).contents[0].text == "text of the sample"  # type: ignore[union-attr]
        with pytest.raises(MCPError, match="Unknown resource"):
            await client.read_resource("sample://nothing")


@each_way
async def test_calls_at_once_get_their_own_answers(served: str, connect: Connect, era: str, durable: bool) -> None:
    found: dict[int, object] = {}
    async with connect(served, era, durable=durable) as client:

        async def ask(number: int) -> None:
            found[number] = (await client.call_tool("add", {"a": number, "b": 0})).structured_content

        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(ask, number)
    assert found == {number: {"result": number} for number in range(100)}


@each_way
async def test_a_cancelled_call_is_cancelled_at_the_server(
    served: str, connect: Connect, era: str, durable: bool, tmp_path: Path
) -> None:
    path, begun = tmp_path / "go", tmp_path / "begun"
    async with connect(served, era, durable=durable) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "wait_for", {"path": str(path), "begun": str(begun)})
            await there(begun)
            group.cancel_scope.cancel()
        with anyio.fail_after(30):
            await there(Path(f"{path}.cancelled"))
        assert (await client.call_tool("add", {"a": 1})).structured_content == {"result": 3}


async def test_a_client_that_ends_cancels_its_calls(served: str, connect: Connect, tmp_path: Path) -> None:
    path, begun = tmp_path / "go", tmp_path / "begun"
    async with anyio.create_task_group() as group:

        async def call() -> None:
            async with connect(served) as client:
                await client.call_tool("wait_for", {"path": str(path), "begun": str(begun)})

        group.start_soon(call)
        await there(begun)
        group.cancel_scope.cancel()
    with anyio.fail_after(30):
        await there(Path(f"{path}.cancelled"))


async def test_a_subscription_hears_of_changes(served: str, connect: Connect) -> None:
    async with connect(served) as client, client.listen(tools_list_changed=True) as subscription:
        await client.call_tool("change_tools", {})
        with anyio.fail_after(30):
            async for event in subscription:
                assert type(event).__name__ == "ToolsListChanged"
                break


async def test_a_session_hears_notifications(served: str, settings: Settings) -> None:
    heard = anyio.Event()

    async def on_message(message: object) -> None:
        if isinstance(message, ToolListChangedNotification):
            heard.set()

    transport = nats_client(served, settings=settings)
    async with Client(transport, mode="legacy", message_handler=on_message) as client:
        await client.call_tool("say_changed", {})
        with anyio.fail_after(30):
            await heard.wait()


@pytest.mark.parametrize("era", ERAS)
async def test_a_result_larger_than_a_message_of_nats_becomes_a_body(
    served: str, connect: Connect, plane: Plane, era: str
) -> None:
    async with connect(served, era) as client:
        result = await client.call_tool("large", {"size": 9_000_000})
    assert result.structured_content is not None
    assert len(await plane.pull(result.structured_content["resource_url"], via="nats")) == 9_000_000


@pytest.mark.parametrize("era", ERAS)
async def test_a_request_larger_than_a_message_of_nats_arrives_in_parts(
    served: str, connect: Connect, era: str
) -> None:
    async with connect(served, era, durable=False) as client:
        result = await client.call_tool("length", {"text": "x" * 20_000_000})
    assert result.structured_content == {"result": 20_000_000}


async def test_a_durable_call_that_is_too_large_says_what_to_do(served: str, connect: Connect) -> None:
    async with connect(served) as client:
        with pytest.raises(MCPError, match="pass its URL, call with durable=False, or raise max_payload"):
            await client.call_tool("length", {"text": "x" * 20_000_000})


@pytest.mark.parametrize("era", ERAS)
async def test_without_an_instance_a_request_says_so(name: str, connect: Connect, era: str) -> None:
    with pytest.raises(Exception) as raised:  # the SDK's session raises it in a group
        async with connect(name, era, wait_seconds=0.1) as client:
            await client.list_tools()
    assert raised.group_contains(MCPError, match=f"No instance of the server {name}") or "No instance" in str(raised)


@pytest.mark.parametrize("era", ERAS)
async def test_a_request_waits_for_an_instance(name: str, connect: Connect, settings: Settings, era: str) -> None:
    found: list[int] = []

    async def ask() -> None:
        async with connect(name, era, wait_seconds=60) as client:
            found.append(len((await client.list_tools()).tools))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.sleep(0.2)  # whether the client asks before or after the server is there, it gets its answer
        async with fronted(name, settings):
            with anyio.fail_after(60):
                while not found:  # noqa: ASYNC110  # of another task, for a short time
                    await anyio.sleep(0.01)


async def test_a_request_that_is_too_large_for_its_server_is_an_error(
    name: str, connect: Connect, settings: Settings
) -> None:
    small = load_settings(nats_url=settings.nats_url, data_dir=settings.data_dir, max_proxy_message_bytes=10_000_000)
    async with fronted(name, small), connect(name, durable=False) as client:
        with pytest.raises(MCPError, match="larger than BROKER_PLANE_MAX_PROXY_MESSAGE_BYTES of the server"):
            await client.call_tool("length", {"text": "x" * 12_000_000})
