"""Valid but unusual sequences over NATS: each request gets one answer, soon, and harms no other."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from broker_plane import PlaneServer
from broker_plane.config import Settings
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.proxy.upstream import Upstream
from broker_plane.transports.describing import describe
from broker_plane.transports.hosting import server_host
from broker_plane.transports.nats import durable_client
from broker_plane.transports.nats.front import nats_front
from broker_plane.transports.nats.upstream import NatsOptions, nats_upstream
from broker_plane.transports.opening import in_process
from tests.proxy.conftest import there
from tests.transports.conftest import ENVELOPE, call_of, fronted

pytestmark = pytest.mark.anyio

KEY = "io.broker-plane/idempotencyKey"


class Client:
    """A client that sends any message, and keeps what it hears."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self.heard: list[dict[str, Any]] = []
        self.hearing: asyncio.Task[None]

    async def send(self, message: dict[str, Any]) -> None:
        await self._upstream.write(json.dumps(message).encode() + b"\n")

    async def hear(self) -> None:
        async for piece in self._upstream.pieces():
            self.heard += [json.loads(line) for line in piece.splitlines() if line]

    async def finish(self) -> None:
        """Close the input; messages end once no request waits."""
        self._upstream.close_input()
        with anyio.fail_after(10):
            await self.hearing

    async def answer(self, key: Any) -> dict[str, Any]:
        """The answer to the request with this id, once it is there; there must be only one."""
        with anyio.fail_after(10):
            while not (found := [each for each in self.heard if each.get("id") == key]):  # noqa: ASYNC110
                await anyio.sleep(0.01)
        assert len(found) == 1
        return found[0]


@asynccontextmanager
async def raw_client(name: str, settings: Settings, **options: Any) -> AsyncIterator[Client]:
    async with nats_upstream(name, settings, NatsOptions(**options))() as upstream:
        client = Client(upstream)
        client.hearing = asyncio.create_task(client.hear())
        try:
            yield client
        finally:
            await cancel_and_forget(client.hearing)


def cancelled(key: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": key}}


@pytest.mark.parametrize("method", ["", "x" * 10_000, "x/initialize", "\ud800", "a.b", "*", ">", "a b", "ö"])
async def test_a_request_with_any_method_is_answered_once_and_harms_no_other(
    served: str, settings: Settings, method: str, tmp_path: Path
) -> None:
    path, begun = tmp_path / "go", tmp_path / "begun"
    async with raw_client(served, settings, durable=False) as client:
        await client.send(call_of("other", "wait_for", path=str(path), begun=str(begun)))
        await there(begun)
        await client.send({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": ENVELOPE}})
        assert "error" in await client.answer(1)
        path.write_text("done")
        assert "result" in await client.answer("other")
        await client.finish()


async def test_half_of_a_surrogate_pair_is_no_key(served: str, settings: Settings) -> None:
    async with raw_client(served, settings) as client:
        await client.send(call_of(1, "add", {KEY: "\ud800"}, a=1))
        assert (await client.answer(1))["error"]["data"] == {"code": "bad_request"}


async def test_a_second_initialize_answers_what_waits_in_the_first_session(
    served: str, settings: Settings, tmp_path: Path
) -> None:
    info = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "one", "version": "1"}}
    opening = {"jsonrpc": "2.0", "method": "initialize", "params": info}
    arguments = {"path": str(tmp_path / "go"), "begun": str(tmp_path / "begun")}
    params = {"name": "wait_for", "arguments": arguments}
    async with raw_client(served, settings) as client:
        await client.send(opening | {"id": 1})
        await client.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        await client.send({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params})
        await there(tmp_path / "begun")
        await client.send(opening | {"id": 3})
        assert "another session" in (await client.answer(2))["error"]["message"]
        assert "result" in await client.answer(3)


async def test_a_durable_call_without_any_instance_ends_after_its_deadline(
    name: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fronted(name, settings):
        """The streams exist from now on."""
    monkeypatch.setattr(durable_client, "SILENT_SECONDS", 0.3)
    async with raw_client(name, settings, deadline_seconds=0.1) as client:
        await client.send(call_of(1, "add", a=1))
        assert (await client.answer(1))["error"]["data"] == {"code": "exchange_deadline"}


async def test_of_two_clients_under_one_key_the_other_learns_at_once_that_the_call_was_cancelled(
    served: str, settings: Settings, tmp_path: Path
) -> None:
    path, begun = tmp_path / "go", tmp_path / "begun"
    request = call_of(1, "wait_for", {KEY: "shared", "progressToken": 1}, path=str(path), begun=str(begun))
    async with raw_client(served, settings) as one, raw_client(served, settings) as other:
        await one.send(request)
        await there(begun)
        await other.send(request)
        with anyio.fail_after(10):
            while not other.heard:  # noqa: ASYNC110  # the progress that was stored
                await anyio.sleep(0.01)
        await one.send(cancelled(1))
        assert (await other.answer(1))["error"]["data"] == {"code": "exchange_cancelled"}


@asynccontextmanager
async def task_instance(name: str, settings: Settings) -> AsyncIterator[None]:
    """An instance of a server with a task tool, which stops in the middle of a call if need be."""
    server = PlaneServer(name, settings=settings)

    @server.task_tool
    async def wait_for(path: str, begun: str) -> str:
        """Wait until the file is there."""
        await anyio.Path(begun).touch()
        while not await anyio.Path(path).exists():  # noqa: ASYNC110  # of the test
            await anyio.sleep(0.01)
        return "done"

    async with (
        server_host(in_process(server), settings=settings) as host,
        nats_front(host, await describe(host), name, settings, drain_seconds=0.1),
    ):
        yield


async def test_a_task_outlives_the_instance_that_waits_for_it_in_the_place_of_its_client(
    name: str, settings: Settings, tmp_path: Path
) -> None:
    path, begun = tmp_path / "go", tmp_path / "begun"
    async with AsyncExitStack() as stack:
        async with task_instance(name, settings):
            client = await stack.enter_async_context(raw_client(name, settings))
            await client.send(call_of(1, "wait_for", path=str(path), begun=str(begun)))
            await there(begun)
            begun.unlink()
        async with task_instance(name, settings):
            await there(begun)
            path.touch()
            assert (await client.answer(1))["result"]["content"][0]["text"] == "done"


async def test_nothing_is_remembered_of_calls_that_said_how_far_they_were(served: str, settings: Settings) -> None:
    async with raw_client(served, settings) as client:
        before = _ends()
        for number in range(3):
            await client.send(call_of(number, "count", {"progressToken": number}, to=2))
            await client.answer(number)
        with anyio.fail_after(10):
            while _ends() > before:  # noqa: ASYNC110  # of the instance
                await anyio.sleep(0.01)


def _ends() -> int:
    """The number of exchanges whose newest messages this process remembers."""
    gc.collect()
    return sum(type(each).__name__ == "_End" for each in gc.get_objects())


async def test_a_caller_that_leaves_ends_no_call_for_which_its_client_waits_under_the_same_key(
    served: str, settings: Settings, tmp_path: Path
) -> None:
    path, begun = tmp_path / "go", tmp_path / "begun"
    call = call_of(1, "wait_for", {KEY: "both"}, path=str(path), begun=str(begun))
    async with raw_client(served, settings) as client:
        await client.send(call)
        await there(begun)
        await client.send(call | {"id": 2})
        await client.send(cancelled(1))
        path.write_text("done")
        assert "result" in await client.answer(2)
    assert not await anyio.Path(f"{path}.cancelled").exists()
