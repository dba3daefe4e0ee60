"""The commands servers and exchanges: what an operator sees of servers and stored calls, and cancels."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from mcp import MCPError
from typer.testing import CliRunner

from broker_plane.cli.main import app_of
from broker_plane.config import Settings
from broker_plane.exchange.messages import ExchangeKey
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.exchanges import NatsExchanges
from broker_plane.testing.processes import until
from tests.proxy.conftest import there
from tests.transports.conftest import SAMPLE_FILE, Connect, call_of, fronted

pytestmark = pytest.mark.anyio

Command = Callable[..., Awaitable[Any]]


@pytest.fixture
def command(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`await command("servers", "ls")` is the JSON that the command prints; with `text=True`, its lines in a pipe."""
    monkeypatch.setenv("BROKER_PLANE_NATS_URL", settings.nats_url)
    monkeypatch.setenv("BROKER_PLANE_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("BROKER_PLANE_BRIDGE_URL", "http://127.0.0.1:1")

    async def run(*words: str, text: bool = False) -> Any:
        given = [*words] if text else [*words, "--json"]
        done = await anyio.to_thread.run_sync(lambda: CliRunner().invoke(app_of(words[0]), given))
        if text:
            return done.stdout.splitlines()
        return json.loads(done.stdout if done.exit_code == 0 else done.stderr)

    return run


async def test_an_operator_sees_a_call_that_runs_and_cancels_it(
    served: str, connect: Connect, command: Command, tmp_path: Path
) -> None:
    path, begun = tmp_path / "go", tmp_path / "begun"
    said: list[str] = []
    reported = anyio.Event()
    async with connect(served) as client, anyio.create_task_group() as group:

        async def heard(progress: float, total: float | None, message: str | None) -> None:
            reported.set()

        async def call() -> None:
            with pytest.raises(MCPError) as raised:
                given = {"path": str(path), "begun": str(begun)}
                await client.call_tool("wait_for", given, progress_callback=heard)
            said.append(str(raised.value))

        group.start_soon(call)
        await reported.wait()
        (server,) = await command("servers", "ls", served)
        (exchange,) = await command("exchanges", "ls", "--server", served, "--state", "running")
        shown = await command("exchanges", "show", exchange["id"])
        (listed,) = await command("exchanges", "ls", "--server", served, text=True)
        lines = await command("exchanges", "show", exchange["id"], text=True)
        assert await command("exchanges", "cancel", exchange["id"]) == {"id": exchange["id"], "cancelled": True}
        with anyio.fail_after(60):
            await there(Path(f"{path}.cancelled"))
    process = f"{socket.gethostname()}:{os.getpid()}"
    assert [(each["process"], each["running"]) for each in server["instances"]] == [(process, 1)]
    assert (server["title"], server["waiting"], server["health"]) == ("sample", 0, "ok")
    assert (exchange["tool"], exchange["attempts"], exchange["process"]) == ("wait_for", 1, process)
    assert listed.split("\t")[:5] == [exchange["id"], served, "wait_for", exchange["client"], "running"]
    assert listed.split("\t")[5].endswith("Z"), "UTC in a pipe, as everywhere"
    assert "state\trunning" in lines and lines[-1].startswith("message 1  {") and lines[-2].startswith("request  {")
    assert shown["request"]["params"]["arguments"]["path"] == str(path)
    assert [each["message"]["method"] for each in shown["messages"]] == ["notifications/progress"]
    assert said == ["The request was cancelled"]


async def test_a_call_without_an_instance_is_cancelled_before_it_is_carried_out(
    name: str, settings: Settings, wiring: Wiring, command: Command, tmp_path: Path
) -> None:
    async with fronted(name, settings):
        pass
    key, mark = ExchangeKey(name, "n" + "s" * 32, "e" * 32), tmp_path / "mark"
    line = json.dumps(call_of(1, "mark", path=str(mark), text="done")).encode()
    await NatsExchanges(wiring.connection).ask(key, line, {}, 600)

    async def listed() -> list[str]:
        return list(await command("servers", "ls", name))

    (server,) = await until(listed, "the stored call to be counted")
    assert (server["instances"], server["waiting"], server["health"]) == ([], 1, "no instance; 1 call waits")
    (exchange,) = await command("exchanges", "ls", "--server", name)
    assert (exchange["id"], exchange["state"], exchange["attempts"]) == (key.exchange, "waiting", 0)
    assert (await command("exchanges", "cancel", key.exchange))["cancelled"]
    assert not (await command("exchanges", "cancel", key.exchange))["cancelled"]
    async with fronted(name, settings):
        with anyio.fail_after(60):
            while (await command("servers", "ls", name))[0]["waiting"]:
                pass
    (exchange,) = await command("exchanges", "ls", "--server", name)
    assert (exchange["state"], mark.exists()) == ("answered", False)


async def test_an_exchange_that_is_not_stored_is_an_error(command: Command) -> None:
    for word in ("show", "cancel"):
        assert (await command("exchanges", word, "A" * 24))["error"]["code"] == "exchange_not_found"
        assert (await command("exchanges", word, "*"))["error"]["code"] == "exchange_not_found"


async def test_a_guest_that_serves_is_told_which_role_serves(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_PLANE_ROLE", "guest")
    error = (await command("serve", "--nats", "weather", SAMPLE_FILE))["error"]
    assert error["code"] == "not_permitted"
    assert "may not serve an MCP server; run this where the role is plane" in error["message"]
