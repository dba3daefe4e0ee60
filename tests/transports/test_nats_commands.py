"""The commands: serve, and proxy before and behind NATS; and how other NATS tools see the servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio.to_thread
import nats
import orjson
import pytest
from mcp import Client, StdioServerParameters
from msgspec import structs
from nats.micro.service import ServiceInfo, ServicePing, ServiceStats

from broker_plane import Plane
from broker_plane.config import Settings
from tests.proxy.conftest import PROXY, ROOT, command_proxy, running
from tests.transports.conftest import SAMPLE, Connect, fronted

pytestmark = pytest.mark.anyio


async def asked(settings: Settings, subject: str) -> Any:
    connection = await nats.connect(settings.nats_url)
    answer = await connection.request(subject, b"", timeout=5)
    await connection.close()
    return orjson.loads(answer.data)


async def test_a_server_is_a_service_of_nats(served: str, connect: Connect, settings: Settings) -> None:
    async with connect(served, durable=False) as client:
        await client.call_tool("add", {"a": 1})
    ping = ServicePing.from_dict(await asked(settings, f"$SRV.PING.{served}"))
    info = ServiceInfo.from_dict(await asked(settings, f"$SRV.INFO.{served}"))
    stats = ServiceStats.from_dict(await asked(settings, f"$SRV.STATS.{served}.{ping.id}"))
    assert (ping.name, info.description) == (served, "MCP server: sample")
    assert info.metadata is not None
    assert {name: info.metadata[name] for name in ("protocol", "mcp_versions", "server_name")} == {
        "protocol": "mcp",
        "mcp_versions": "2026-07-28,2025-11-25",
        "server_name": "sample",
    }
    assert int(info.metadata["tools"]) >= 10
    assert [endpoint.subject for endpoint in info.endpoints] == [f"bp.mcp.{served}.in.rpc.>"]
    assert stats.endpoints[0].num_requests >= 1


async def test_the_proxy_gives_a_server_on_nats_over_standard_streams_and_http(
    served: str, environment: dict[str, str]
) -> None:
    arguments = [*PROXY[1:], "--", f"nats:{served}"]
    stdio = StdioServerParameters(command=PROXY[0], args=arguments, env=environment, cwd=ROOT)
    with command_proxy([f"nats:{served}"], environment) as url:
        for target, era in ((stdio, "auto"), (url, "auto"), (url, "legacy")):
            async with Client(target, mode=era) as client:
                assert (await client.call_tool("process", {})).structured_content == {"result": os.getpid()}


@pytest.mark.parametrize("era", ["2026-07-28", "legacy"])
async def test_a_model_behind_the_proxy_reads_on_what_the_server_held_back(
    name: str, plane: Plane, settings: Settings, environment: dict[str, str], era: str
) -> None:
    bridge = {"BROKER_PLANE_BRIDGE_URL": plane.bridge_url}
    async with fronted(name, structs.replace(settings, bridge_url=plane.bridge_url)):
        with command_proxy([f"nats:{name}"], environment | bridge) as url:
            async with Client(url, mode=era) as client:
                found = await client.call_tool("large", {"size": 1_000_000})
                shape = found.structured_content or {}
                assert shape["next_step"].startswith("A text of 1 line, 1,000,000 bytes. To read on: read_body(")
                assert found.content[0].type == "text" and json.loads(found.content[0].text) == shape
                read = await client.call_tool("read_body", {"resource_url": shape["resource_url"], "max_tokens": 1})
                assert read.content[0].type == "text" and read.content[0].text.startswith("xxx")


async def test_the_proxy_gives_a_server_on_nats_another_name_and_reading_tools(
    served: str, connect: Connect, environment: dict[str, str]
) -> None:
    other = f"{served}-read"
    with running([*PROXY, "--nats", other, "--json", "--", f"nats:{served}"], environment) as process:
        assert process.stdout is not None
        said = await anyio.to_thread.run_sync(process.stdout.readline)  # the server answers in this process
        assert json.loads(said)["places"] == [f"nats:{other}"]
        async with connect(other) as client:
            assert {"add", "read_body"} <= {tool.name for tool in (await client.list_tools()).tools}
            assert (await client.call_tool("process", {})).structured_content == {"result": os.getpid()}


@pytest.mark.full
async def test_the_proxy_puts_a_url_on_nats(
    name: str, sample_url: str, connect: Connect, environment: dict[str, str]
) -> None:
    command = [*PROXY, "--nats", name, "--json", "--", sample_url]
    with running(command, environment) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        assert said["places"] == [f"nats:{name}"]
        assert said["server"] == "sample"
        for era in ("2026-07-28", "legacy"):
            async with connect(name, era) as client:
                assert (await client.call_tool("add", {"a": 1})).structured_content == {"result": 3}


@pytest.mark.full
async def test_a_command_that_ends_is_started_again_for_its_call(
    name: str, connect: Connect, environment: dict[str, str], tmp_path: Path
) -> None:
    first = tmp_path / "first"
    script = tmp_path / "once.py"
    script.write_text(
        "import os\n"
        "from pathlib import Path\n"
        "from mcp.server.mcpserver import MCPServer\n"
        "mcp = MCPServer('once')\n"
        "@mcp.tool()\n"
        "def work() -> str:\n"
        f"    if not Path({str(first)!r}).exists():\n"
        f"        Path({str(first)!r}).touch(); os._exit(1)\n"
        "    return 'done'\n"
        "mcp.run()\n"
    )
    command = [*PROXY[:-1], "serve", "--nats", name, "--json", "--", sys.executable, str(script)]
    with running(command, environment) as process:
        assert process.stdout is not None
        json.loads(process.stdout.readline())
        async with connect(name) as client:
            assert (await client.call_tool("work", {})).structured_content == {"result": "done"}
    assert first.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["serve", "server.py"], "Name a carrier"),
        (["serve", "--nats", "a b", "--", *SAMPLE], "is not the name of a server"),
        (["serve", "--nats", "x", "nothing.py"], "is not a file"),
        (["proxy", "--nats", "x", "--http", "0", "--", "ls"], "either --http or --nats"),
    ],
)
def test_wrong_words_are_refused(words: list[str], said: str, environment: dict[str, str]) -> None:
    from typer.testing import CliRunner

    from broker_plane.cli.main import app_of

    done = CliRunner(env=environment).invoke(app_of(words[0]), words)
    assert (done.exit_code, said in done.output) == (1, True), done.output


@pytest.mark.full
def test_a_server_that_does_not_start_is_an_error(name: str, environment: dict[str, str]) -> None:
    command = [*PROXY[:-1], "serve", "--nats", name, "--", sys.executable, "-c", "raise SystemExit(1)"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 1
    assert "ended before it answered" in done.stderr
