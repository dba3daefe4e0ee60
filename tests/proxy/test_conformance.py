"""The MCP conformance suite gives the SDK's everything-server the same results behind the proxy as without it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import pytest

from broker_plane.testing.server import wait_for
from tests.agents.environment import source_of
from tests.interop.conftest import npm_installed
from tests.ports import free_port

from .conftest import http_proxy, listens

SUITE = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
NODE = "node@24.21.0"
SUITE_SECONDS = 240
REQUIREMENTS = ("2026-07-28", "2025-11-25")

Results = dict[str, list[tuple[str, str]]]


@pytest.fixture(scope="module")
def everything_url(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The SDK's everything-server, out of its source distribution."""
    server = source_of(f"mcp=={version('mcp')}") / "examples/servers/everything-server"
    port = free_port()
    log = tmp_path_factory.mktemp("everything") / "log"
    command = [sys.executable, "-m", "mcp_everything_server", "--port", str(port)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment | {"PYTHONPATH": str(server)}, stdout=file, stderr=file)
    try:
        url = f"http://localhost:{port}/mcp"
        wait_for(lambda: listens(url), "the everything-server to listen", 30)
        yield url
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def proxied_url(everything_url: str, environment: dict[str, str]) -> Iterator[str]:
    with http_proxy(everything_url, environment) as url:
        yield url.replace("127.0.0.1", "localhost")


def results(modules: Path, url: str, requirements: str, directory: Path) -> Results:
    """Each check of the suite and its outcome, by scenario."""
    node = modules / "node/bin"
    command: list[str | Path] = [
        node / "node",
        modules / SUITE.rpartition("@")[0] / "dist/index.js",
        "server",
        "--url",
        url,
    ]
    options = ["--requirements", requirements, "-o", str(directory)]
    environment = {**os.environ, "PATH": f"{node}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run([*command, *options], env=environment, capture_output=True, timeout=SUITE_SECONDS, check=False)
    found: Results = {}
    for file in directory.rglob("checks.json"):
        scenario = re.sub(r"-\d{4}-\d\d-\d\dT.*", "", file.parent.name)
        found[scenario] = sorted(
            (check["id"], check["status"]) for check in json.loads(file.read_text()) if check["status"] != "INFO"
        )
    return found


@pytest.mark.parametrize("requirements", REQUIREMENTS)
def test_every_check_ends_as_without_the_proxy(
    everything_url: str, proxied_url: str, tmp_path: Path, requirements: str
) -> None:
    modules = npm_installed("conformance", SUITE, NODE)
    with ThreadPoolExecutor(2) as threads:
        urls = {"alone": everything_url, "proxied": proxied_url}
        runs = {
            name: threads.submit(results, modules, url, requirements, tmp_path / name) for name, url in urls.items()
        }
        alone, behind = runs["alone"].result(), runs["proxied"].result()
    # What is for information only counts events, of which a poll may see one more or less.
    assert sum(map(len, alone.values())) > 80, "the suite ran"
    assert behind == alone
