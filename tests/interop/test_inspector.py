"""The MCP Inspector's command line, unmodified, against our example server: an inline result, and a linked one."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from broker_plane.testing.server import NatsServer
from servers.weather import sample

from .conftest import ROOT, npm_installed

pytestmark = pytest.mark.anyio
SECONDS = 90
CALIFORNIA = [row for row in sample("alerts") if any(zone[:2] == "CA" for zone in row["geocode"]["UGC"])]
Call = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture(scope="session")
def programs() -> Path:
    """Where `inspector` is, and a Node.js that is new enough for it."""
    return npm_installed("inspector", "@modelcontextprotocol/inspector@2.12.0", "node@24.21.0") / ".bin"


@pytest.fixture(params=["legacy", pytest.param("modern", marks=pytest.mark.full)])
def call(request: pytest.FixtureRequest, programs: Path, nats_server: NatsServer, tmp_path: Path) -> Call:
    """`await call("tool", argument="…")`, over stdio, in one era of the protocol."""
    server_env = {"BROKER_PLANE_NATS_URL": nats_server.url, "PYTHONPATH": str(ROOT)}

    async def called(tool: str, **arguments: str) -> dict[str, Any]:
        command = [str(programs / "inspector"), "--cli", sys.executable, "-m", "servers.weather"]
        for name, value in server_env.items():
            command += ["-e", f"{name}={value}"]
        command += ["--protocol-era", request.param, "--method", "tools/call", "--tool-name", tool]
        for name, value in arguments.items():
            command += ["--tool-arg", f"{name}={value}"]
        env = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path)}
        with anyio.fail_after(SECONDS):
            done = await anyio.run_process(command, env=env, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    return called


async def test_a_result_without_an_abstract_is_inline(call: Call) -> None:
    said = await call("get_alerts", area="CA")
    assert json.loads(said["content"][0]["text"]) == CALIFORNIA
    assert not said.get("isError")


async def test_a_result_with_an_abstract_is_linked_and_has_a_descriptor(call: Call) -> None:
    said = await call("get_alerts", area="CA", abstract_domains="event")
    text, link = said["content"]
    assert json.loads(text["text"])["total_rows"] == len(CALIFORNIA)
    assert link["type"] == "resource_link"
    descriptor = said["_meta"]["io.broker-plane/transfer"]
    assert (descriptor["mode"], descriptor["protocol"]) == ("fetch", "http")
