"""Several instances of a server, and what the clients of one see that is killed."""

from __future__ import annotations

import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from mcp import MCPError
from mcp.client.subscriptions import SubscriptionLost

from broker_plane.config import Settings
from tests.proxy.conftest import running, there
from tests.transports.conftest import Connect, fronted, instance, until

pytestmark = pytest.mark.anyio


async def test_a_session_is_opened_again_when_its_instance_is_killed(
    name: str, connect: Connect, settings: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    with instance(name, environment) as process:
        async with connect(name, "legacy") as client:
            waits = {"path": str(tmp_path / "never"), "begun": str(begun)}

            async def call() -> None:
                with pytest.raises(MCPError, match="had this session has ended; the next request opens the session"):
                    await client.call_tool("wait_for", waits)

            async with anyio.create_task_group() as group:
                group.start_soon(call)
                assert int(await until(begun)) == process.pid
                process.send_signal(signal.SIGKILL)
                process.wait(10)
            async with fronted(name, settings):
                assert (await client.call_tool("add", {"a": 1})).structured_content == {"result": 3}


async def test_a_stopped_instance_ends_although_its_tool_cannot_be_stopped(
    name: str, connect: Connect, settings: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    """The call is carried out by another instance."""
    path, begun = tmp_path / "go", tmp_path / "begun"
    with instance(name, environment, "--drain", "0") as process:
        async with connect(name) as client, anyio.create_task_group() as group:
            answers: list[str] = []

            async def call() -> None:
                found = await client.call_tool("block", {"path": str(path), "begun": str(begun)})
                answers.append(found.structured_content["result"] if found.structured_content else "")

            group.start_soon(call)
            assert int(await until(begun)) == process.pid
            process.send_signal(signal.SIGTERM)
            await anyio.to_thread.run_sync(process.wait, 100)
            path.write_text("done")
            async with fronted(name, settings):
                with anyio.fail_after(60):
                    while not answers:  # noqa: ASYNC110  # the answer of the call above
                        await anyio.sleep(0.01)
    assert answers == ["done"]


async def test_a_subscription_does_not_keep_an_instance(name: str, connect: Connect, settings: Settings) -> None:
    async with AsyncExitStack() as stopped:
        await stopped.enter_async_context(fronted(name, settings, drain_seconds=3600))
        async with connect(name) as client, client.listen(tools_list_changed=True) as subscription:
            with anyio.fail_after(60):
                await stopped.aclose()
                with pytest.raises(SubscriptionLost):
                    async for _ in subscription:
                        pass


@pytest.mark.full
async def test_instances_share_requests_and_sessions(
    name: str, connect: Connect, settings: Settings, environment: dict[str, str]
) -> None:
    with instance(name, environment) as process:
        async with fronted(name, settings):
            for era, durable in (("2026-07-28", True), ("2026-07-28", False), ("legacy", True)):
                seen: set[int] = set()
                with anyio.fail_after(60):
                    while len(seen) < 2:
                        async with connect(name, era, durable=durable) as client:
                            found = (await client.call_tool("process", {})).structured_content
                            seen.add(found["result"] if found else 0)
                assert process.pid in seen


@pytest.mark.full
async def test_what_ran_at_a_killed_instance_ends_with_an_error(
    name: str, connect: Connect, settings: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    """A subscription, and a call that is not durable. It takes fifteen seconds to be sure."""
    begun = tmp_path / "begun"
    with instance(name, environment) as process:
        async with connect(name, durable=False) as client, client.listen(tools_list_changed=True) as subscription:

            async def call() -> None:
                with pytest.raises(MCPError, match="it is unknown what it has done"):
                    await client.call_tool("wait_for", {"path": str(tmp_path / "never"), "begun": str(begun)})

            async def listen() -> None:
                with pytest.raises(SubscriptionLost):
                    async for _ in subscription:
                        pass

            with anyio.fail_after(120):
                async with anyio.create_task_group() as group:
                    group.start_soon(call)
                    group.start_soon(listen)
                    await until(begun)
                    process.send_signal(signal.SIGKILL)
                    process.wait(10)


@pytest.mark.full
async def test_the_requests_of_a_killed_client_are_cancelled(
    served: str, environment: dict[str, str], tmp_path: Path
) -> None:
    path, begun = tmp_path / "go", tmp_path / "begun"
    code = f"""
import anyio
from mcp import Client
from broker_plane.transports.nats import nats_client
async def main():
    async with Client(nats_client({served!r}, durable=False)) as client:
        await client.call_tool("wait_for", {{"path": {str(path)!r}, "begun": {str(begun)!r}}})
anyio.run(main)
"""
    with running([sys.executable, "-c", code], environment) as process:
        await until(begun)
        process.kill()
        with anyio.fail_after(120):
            await there(Path(f"{path}.cancelled"))
