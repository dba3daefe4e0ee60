"""Durable calls over NATS: what ends meanwhile, whom they are answered to, and what is stored of them."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from mcp import Client, MCPError

from broker_plane.broker.connecting import connect as connect_nats
from broker_plane.config import Settings, load_settings
from broker_plane.testing.server import NatsServer
from broker_plane.transports.nats import nats_client
from broker_plane.transports.nats.upstream import nats_upstream
from broker_plane.wire.exact_json import dumps
from tests.proxy.conftest import there
from tests.transports.conftest import Connect, call_of, fronted, instance, until

pytestmark = pytest.mark.anyio

KEY = "io.broker-plane/idempotencyKey"


def keyed(key: str) -> Any:
    """The `_meta` of a call with an idempotency key."""
    return {KEY: key}


async def until_there(results: list[Any], count: int) -> None:
    """Wait until there are so many results."""
    while len(results) < count:  # noqa: ASYNC110  # of other tasks
        await anyio.sleep(0.01)


async def stored(settings: Settings, name: str) -> dict[str, int]:
    """The stored messages of a server, by their subjects."""
    connection = await connect_nats(settings.nats_url, timeout=5)
    found: dict[str, int] = {}
    for stream in ("BP_MCP", "BP_MCP_SAID"):
        question = orjson.dumps({"subjects_filter": f"bp.mcp.{name}.>"})
        answer = orjson.loads((await connection.request(f"$JS.API.STREAM.INFO.{stream}", question)).data)
        found |= answer["state"].get("subjects") or {}
    await connection.close()
    return found


@asynccontextmanager
async def overheard(settings: Settings, subject: str) -> AsyncIterator[list[bytes]]:
    """The payloads that anybody publishes on a subject from now on."""
    connection = await connect_nats(settings.nats_url, timeout=5)
    said: list[bytes] = []
    async with connection.subscribe(subject, lambda each: said.append(each.data), queued=False):
        yield said
    await connection.close()


async def until_stored(settings: Settings, name: str, count: int, kind: str = "in") -> None:
    """Wait until requests are stored (`in`), or the messages about them (`out`): of so many calls."""
    with anyio.fail_after(60):
        while [each.split(".")[3] for each in await stored(settings, name)].count(kind) < count:  # noqa: ASYNC110  # of nats-server
            await anyio.sleep(0.02)


async def test_a_call_goes_on_at_another_instance_when_its_own_is_killed(
    name: str, connect: Connect, environment: dict[str, str], tmp_path: Path
) -> None:
    path, begun, again = tmp_path / "go", tmp_path / "begun", tmp_path / "again"
    results: list[Any] = []
    with instance(name, environment) as first:
        async with connect(name) as client, anyio.create_task_group() as group:

            async def call() -> None:
                results.append(await client.call_tool("wait_for", {"path": str(path), "begun": str(begun)}))

            group.start_soon(call)
            assert int(await until(begun)) == first.pid
            first.send_signal(signal.SIGKILL)
            first.wait(10)
            begun.rename(again)
            with instance(name, environment) as second:
                assert int(await until(begun)) == second.pid
                path.write_text("done")
                with anyio.fail_after(60):
                    await until_there(results, 1)
    assert [result.structured_content for result in results] == [{"result": "done"}]


async def test_a_call_survives_a_kill_of_nats_server(own_server: NatsServer, name: str, tmp_path: Path) -> None:
    settings = load_settings(nats_url=own_server.url, data_dir=tmp_path / "data", bridge_url="http://127.0.0.1:1")
    path, begun, log = tmp_path / "go", tmp_path / "begun", tmp_path / "log"
    async with fronted(name, settings), anyio.create_task_group() as group:
        results: list[Any] = []

        async def call(durable: bool, era: str) -> None:
            transport = nats_client(name, settings=settings, durable=durable)
            async with Client(transport, mode=era) as client:
                waits = {"path": str(path), "begun": f"{begun}-{durable}-{era}"}
                results.append((await client.call_tool("wait_for", waits)).structured_content)
                results.append((await client.call_tool("mark", {"path": str(log), "text": "x"})).structured_content)

        ways = [(True, "2026-07-28"), (True, "legacy")]
        for durable, era in ways:
            group.start_soon(call, durable, era)
            await there(Path(f"{begun}-{durable}-{era}"))
        own_server.kill()
        path.write_text("done")
        await anyio.sleep(0.5)  # the answers are made while nats-server is away
        own_server.start()
        with anyio.fail_after(60):
            await until_there(results, 2 * len(ways))
    assert sorted(map(str, results)) == ["{'result': 'done'}"] * 2 + ["{'result': 'x'}"] * 2
    assert log.read_text() == "x\nx\n"


async def test_a_client_finds_its_call_again_by_its_key(
    served: str, connect: Connect, settings: Settings, tmp_path: Path
) -> None:
    path, begun, log = tmp_path / "go", tmp_path / "begun", tmp_path / "log"
    arguments, meta = {"path": str(path), "begun": str(begun)}, keyed("order-1")
    request = call_of(7, "wait_for", {KEY: "order-1", "progressToken": 7}, **arguments)
    async with nats_upstream(served, settings)() as crashing:  # a client that ends without a word about its call
        await crashing.write(dumps(request) + b"\n")
        await there(begun)
    path.write_text("done")
    steps: list[float] = []

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async with connect(served) as client:
        for _ in range(2):
            result = await client.call_tool("wait_for", arguments, meta=meta, progress_callback=heard)
            assert result.structured_content == {"result": "done"}
        with pytest.raises(MCPError, match="Another request was made under this idempotency key") as reused:
            await client.call_tool("wait_for", {"path": str(log)}, meta=meta)
        assert (reused.value.error.code, reused.value.error.data) == (-32602, {"code": "key_reused"})
        with pytest.raises(MCPError, match="must be a text of 1 to 200 characters") as wrong:
            await client.call_tool("wait_for", arguments, meta=keyed("x" * 201))
        assert (wrong.value.error.code, wrong.value.error.data) == (-32602, {"code": "bad_request"})
    assert steps == [0, 0]  # the stored progress, for each caller once


async def test_calls_at_once_under_one_key_have_one_effect(served: str, connect: Connect, tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with connect(served) as one, connect(served) as two, anyio.create_task_group() as group:
        for client in (one, two, one, two):
            arguments = {"path": str(log), "text": "x"}
            group.start_soon(partial(client.call_tool, "mark", arguments, meta=keyed("once")))
    assert log.read_text() == "x\n"


async def test_a_tool_learns_the_key_of_its_call(served: str, connect: Connect) -> None:
    async with connect(served) as client:
        assert (await client.call_tool("key", {}, meta=keyed("mine"))).structured_content == {"result": "mine"}
        given = [(await client.call_tool("key", {})).structured_content for _ in range(2)]
    keys = [each["result"] for each in given if each]
    assert len(set(keys)) == 2
    assert all(len(key) >= 22 for key in keys)


async def test_nothing_is_stored_of_calls_whose_client_has_the_answer(
    served: str, connect: Connect, settings: Settings
) -> None:
    async with connect(served) as client:
        for number in range(20):
            await client.call_tool("add", {"a": number})
            await client.call_tool("count", {"to": 2}, progress_callback=_ignored)
    with anyio.fail_after(20):
        while await stored(settings, served):  # noqa: ASYNC110  # of nats-server
            await anyio.sleep(0.05)


async def test_the_answer_of_a_call_with_a_key_is_kept(served: str, connect: Connect, settings: Settings) -> None:
    async with connect(served) as client:
        await client.call_tool("add", {"a": 1}, meta=keyed("kept"))
    kept = await stored(settings, served)
    assert sorted(subject.split(".")[3] for subject in kept) == ["in", "out"]


async def test_an_answer_that_is_not_stored_any_more_is_said_to_be_lost(
    served: str, connect: Connect, settings: Settings
) -> None:
    connection = await connect_nats(settings.nats_url, timeout=5)
    async with connect(served) as client:
        await client.call_tool("add", {"a": 1}, meta=keyed("lost"))
        purge = orjson.dumps({"filter": f"bp.mcp.{served}.out.>"})
        await connection.request("$JS.API.STREAM.PURGE.BP_MCP_SAID", purge)
        with anyio.fail_after(60), pytest.raises(MCPError, match="exchange_lost") as lost:
            await client.call_tool("add", {"a": 1}, meta=keyed("lost"))
    assert lost.value.error.data == {"code": "exchange_lost"}
    await connection.close()


async def test_an_instance_that_leaves_gives_its_calls_back(
    name: str, connect: Connect, settings: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    path, begun, leases = tmp_path / "go", tmp_path / "begun", f"$JS.ACK.BP_MCP.ask_n_{name}.>"
    results: list[Any] = []
    with instance(name, environment, "--drain", "0") as first:
        async with connect(name) as client, anyio.create_task_group() as group:

            async def call() -> None:
                results.append(await client.call_tool("wait_for", {"path": str(path), "begun": str(begun)}))

            group.start_soon(call)
            assert int(await until(begun)) == first.pid
            begun.unlink()
            async with fronted(name, settings), overheard(settings, leases) as said:
                first.send_signal(signal.SIGTERM)
                await until(begun)
                assert any(each.startswith(b"-NAK") for each in said)  # else its lease has ended
                path.write_text("done")
                with anyio.fail_after(30):
                    await until_there(results, 1)
        assert first.wait(20) == 128 + signal.SIGTERM
    assert [result.structured_content for result in results] == [{"result": "done"}]


async def test_a_call_that_was_cancelled_before_an_instance_was_there_is_not_carried_out(
    name: str, connect: Connect, settings: Settings, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    resumes, results = f"bp.mcp.{name}.in.resume.>", list[Any]()
    cancelled, other = {"path": str(log), "text": "cancelled"}, {"path": str(log), "text": "other"}

    async def call_and_end() -> None:
        async with connect(name) as ending:
            await ending.call_tool("mark", cancelled)

    async def call_other(client: Client) -> None:
        results.append(await client.call_tool("mark", other, meta=keyed("theirs")))

    async with fronted(name, settings):  # so that there is a stream
        pass
    with anyio.fail_after(60):
        async with connect(name) as client:
            async with anyio.create_task_group() as group:
                group.start_soon(partial(client.call_tool, "mark", cancelled, meta=keyed("mine")))
                group.start_soon(call_and_end)
                await until_stored(settings, name, 2)
                group.cancel_scope.cancel()
            async with anyio.create_task_group() as group:
                group.start_soon(call_other, client)
                await until_stored(settings, name, 3)
                # Another request under a key that is taken: its cancellation must not end the first one.
                async with (
                    connect(name) as late,
                    overheard(settings, resumes) as asked,
                    anyio.create_task_group() as refused,
                ):
                    refused.start_soon(partial(late.call_tool, "mark", cancelled, meta=keyed("theirs")))
                    await until_there(asked, 1)
                    refused.cancel_scope.cancel()
                async with fronted(name, settings):
                    with pytest.raises(MCPError, match="The request was cancelled") as seen:
                        await client.call_tool("mark", cancelled, meta=keyed("mine"))
                    assert seen.value.error.data == {"code": "exchange_cancelled"}
                    await until_stored(settings, name, 3, "out")
                    await until_there(results, 1)
    assert log.read_text() == "other\n"


async def _ignored(progress: float, total: float | None, message: str | None) -> None:
    pass
