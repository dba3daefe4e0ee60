"""A client of the 1.x line of the MCP SDK works with our example servers, over stdio and over streamable HTTP."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from broker_plane.testing.server import NatsServer, wait_for
from servers.checksum import rows_checksum
from servers.weather import sample
from tests import forked
from tests.ports import free_port
from tests.trusting import HOSTS

from .conftest import ROOT, Ask

pytestmark = pytest.mark.anyio
CALIFORNIA = [row for row in sample("alerts") if any(zone[:2] == "CA" for zone in row["geocode"]["UGC"])]
WORST = [row for row in CALIFORNIA if row["severity"] in ("Severe", "Extreme")]


@pytest.fixture
def environment(nats_server: NatsServer, tmp_path: Path) -> dict[str, str]:
    """Of a server: the checkout on its path, and a NATS without a bridge, so that each has one of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_PLANE_")}
    ours = {"BROKER_PLANE_NATS_URL": nats_server.url, "BROKER_PLANE_CHART_DIR": str(tmp_path)}
    ours["BROKER_PLANE_TRUSTED_HOSTS"] = HOSTS  # each server has a bridge of its own, on a free port
    return kept | ours | {"PYTHONPATH": str(ROOT)}


def over_stdio(name: str, environment: dict[str, str]) -> dict[str, Any]:
    forked.fork_server(forked.MCP)
    program, *arguments = forked.command(f"servers.{name}")
    return {"command": program, "args": arguments, "env": environment}


@contextmanager
def over_http(name: str, environment: dict[str, str], directory: Path) -> Iterator[str]:
    """The URL of a server that runs for the time of the block."""
    port = free_port()
    forked.fork_server(forked.MCP)
    command = forked.command("servers", name, "--http", str(port))
    with (directory / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=directory, stdout=log, stderr=log)
    try:
        wait_for(lambda: _answers(f"http://127.0.0.1:{port}/healthz"), f"{name} to listen", 30)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310  # our own, on loopback
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(params=["stdio", "streamable HTTP"])
def servers(request: pytest.FixtureRequest, environment: dict[str, str], tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Where the two servers are, over one transport."""
    with ExitStack() as stack:
        if request.param == "stdio":
            yield {name: over_stdio(name, environment) for name in ("weather", "stats")}
        else:
            yield {name: stack.enter_context(over_http(name, environment, tmp_path)) for name in ("weather", "stats")}


async def test_an_agent_of_1_x_hands_a_body_from_server_to_server(servers: dict[str, Any], ask_theirs: Ask) -> None:
    seen = await ask_theirs("mcp1_agent.py", **servers)
    assert seen["mcp"].startswith("1.")
    assert set(seen["tools"]["weather"]) == {"get_alerts", "get_forecast"}
    assert {"area", "abstract_domains", "mode"} <= set(seen["tools"]["weather"]["get_alerts"])
    assert {"abstract_data", "resource_url", "body_data", "column_mapping"} <= set(seen["tools"]["stats"]["summarize"])

    assert json.loads(seen["plain"]["text"]) == CALIFORNIA
    found = json.loads(seen["found"]["text"])
    assert seen["found"]["structured"] == found
    assert "resource_link" in seen["found"]["kinds"]
    assert found["total_rows"] == len(CALIFORNIA)
    assert [set(row) for row in found["abstract"]] == [{"_row_id", "event", "severity"}] * len(CALIFORNIA)

    assert len(seen["chosen"]) == len(WORST) > 0
    summary = json.loads(seen["summary"]["text"])
    assert not seen["summary"]["is_error"]
    assert (summary["rows"], summary["checksum"]) == (len(WORST), rows_checksum(WORST))


async def test_a_grant_that_is_used_up_is_an_error_that_the_agent_can_read(
    servers: dict[str, Any], ask_theirs: Ask
) -> None:
    seen = await ask_theirs("mcp1_agent.py", **servers)
    assert seen["again"]["is_error"]
    assert "used" in seen["again"]["text"]
