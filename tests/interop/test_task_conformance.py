"""The scenarios of the MCP conformance suite about tasks, which no set of requirements scores yet."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from broker_plane.testing.server import NatsServer
from tests.conformance.suite import NODE, SUITE
from tests.ports import free_port

from .conftest import npm_installed
from .test_fastmcp_tasks import answering, served

pytestmark = [pytest.mark.anyio, pytest.mark.full]
SCENARIOS = (
    "tasks-lifecycle",
    "tasks-capability-negotiation",
    "tasks-wire-fields",
    "tasks-request-state-removal",
    "tasks-mrtr-input",
    "tasks-mrtr-composition",
    "tasks-request-headers",
    "tasks-dispatch-and-envelope",
    "tasks-required-task-error",
)
SERVER = Path(__file__).with_name("task_conformance_server.py")
SECONDS = 120


def outcomes(url: str, scenario: str, directory: Path) -> dict[str, str]:
    """The outcome of each check of a scenario."""
    modules = npm_installed("conformance", SUITE, NODE)
    node = modules / "node/bin"
    program = [str(node / "node"), str(modules / SUITE.rpartition("@")[0] / "dist/index.js")]
    options = ["--url", url, "--scenario", scenario, "--spec-version", "2026-07-28", "--force", "-o", str(directory)]
    done = subprocess.run(
        [*program, "server", *options],
        env={**os.environ, "PATH": f"{node}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    files = list(directory.rglob("checks.json"))
    assert files, done.stdout[-500:] + done.stderr[-500:]
    return {check["id"]: check["status"] for file in files for check in json.loads(file.read_text())}


async def test_every_scenario_about_tasks_succeeds(nats_server: NatsServer, tmp_path: Path) -> None:
    port = free_port()
    with served(SERVER, port, nats_url=nats_server.url, directory=tmp_path):
        await answering(port)
        found = {
            (scenario, check): outcome
            for scenario in SCENARIOS
            for check, outcome in outcomes(f"http://127.0.0.1:{port}/mcp", scenario, tmp_path / scenario).items()
        }
    assert len(found) > 40
    assert {key: outcome for key, outcome in found.items() if outcome not in ("SUCCESS", "INFO")} == {}
