"""Each client sees the same typed results with and without the plane below the threshold, and truthful ones above."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.testing.server import NatsServer, wait_for
from tests.agents.environment import python_with
from tests.ports import free_port
from tests.proxy.conftest import PROXY, command_proxy, listens, running
from tests.trusting import HOSTS

from .conftest import HERE, ROOT, npm_installed

pytestmark = pytest.mark.anyio
SECONDS = 240
SDK = "@modelcontextprotocol/sdk@1.32.2"
CLIENTS = ("FastMCP 4", "TypeScript SDK", "Python SDK 2.x", "Python SDK 1.x")
WAYS = ("proxy stdio", "proxy HTTP", "middleware")
SMALL: list[tuple[str, dict[str, Any]]] = [
    ("scalar", {"a": 1, "b": 2}),
    ("text", {"count": 3}),
    ("text", {"count": 0}),
    ("items", {"count": 3}),
    ("items", {"count": 0}),
    ("table", {"count": 3}),
    ("table", {"count": 0}),
    ("model", {"count": 3}),
    ("either", {"word": True}),
    ("either", {"word": False}),
    ("mapping", {"count": 3}),
    ("nothing", {}),
    ("silent", {}),
    ("fails", {}),
    ("picture", {}),
]
LARGE: list[tuple[str, dict[str, Any]]] = [
    ("text", {"count": 125_000}),
    ("table", {"count": 600}),
    ("items", {"count": 4_000}),
    ("model", {"count": 1_000}),
    ("mapping", {"count": 4_000}),
]
"""The first has 1 MB."""
OWN = ("model", "size")
TEXT = ("Zoë,1\r\n" * 125_000).encode()

Seen = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def environment(nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_PLANE_")}
    ours = {"BROKER_PLANE_NATS_URL": nats_server.url, "BROKER_PLANE_DATA_DIR": str(tmp_path_factory.mktemp("data"))}
    return kept | ours | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def ways(environment: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Where the server is: directly, behind each front of the proxy, and with the middleware."""
    python = str(python_with("fastmcp", "fastmcp"))
    plain, middle = free_port(), free_port()
    server = [python, "-m", "tests.interop.matrix_server"]
    with ExitStack() as stack:
        stack.enter_context(running([*server, str(plain), str(middle)], environment))
        urls = [f"http://127.0.0.1:{port}/mcp" for port in (plain, middle)]
        for url in urls:
            wait_for(lambda url=url: listens(url), "the server to listen", 60)  # type: ignore[misc]
        proxied = stack.enter_context(command_proxy(server, environment))
        stdio = {"command": PROXY[0], "args": [*PROXY[1:], "--", urls[0]], "env": environment}
        yield {"direct": urls[0], "proxy stdio": stdio, "proxy HTTP": proxied, "middleware": urls[1]}


@pytest.fixture(scope="module", params=CLIENTS)
async def seen(
    request: pytest.FixtureRequest, ways: dict[str, Any], environment: dict[str, str], tmp_path_factory: Any
) -> Seen:
    env = dict(environment)
    if request.param == "FastMCP 4":
        command: list[str | Path] = [python_with("fastmcp", "fastmcp"), HERE / "matrix_fastmcp.py"]
    elif request.param == "TypeScript SDK":
        modules = npm_installed("mcp-sdk", SDK)
        command = ["node", HERE / "matrix_ts.mjs"]
        env["SDK_FROM"] = str(modules / "x.js")
    elif request.param == "Python SDK 2.x":
        command = [sys.executable, HERE / "matrix_sdk.py"]
    else:
        command = [request.getfixturevalue("their_python"), HERE / "matrix_sdk.py"]
        env.pop("PYTHONPATH")
    question = {"ways": ways, "calls": [*SMALL, *LARGE]}
    words = [str(word) for word in command]
    with anyio.fail_after(SECONDS):
        done = await anyio.run_process(
            words, input=json.dumps(question).encode(), env=env, cwd=tmp_path_factory.mktemp("client"), check=False
        )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    found: Seen = json.loads(done.stdout)
    return found


async def test_small_results_are_equal(seen: Seen) -> None:
    for number, (tool, arguments) in enumerate(SMALL):
        direct = seen["direct"][number]
        assert direct["error"] == (tool == "fails")
        for way in WAYS:
            assert seen[way][number] == direct, (tool, arguments, way)


async def test_large_results_are_truthful(seen: Seen, environment: dict[str, str]) -> None:
    for number, (tool, arguments) in enumerate(LARGE, len(SMALL)):
        assert not seen["direct"][number]["error"]
        for way in WAYS:
            result = seen[way][number]
            assert not result["error"], result["content"]
            shape = json.loads(result["content"][0]["text"])
            # The model has a `size` of its own, which the structured content leaves to it.
            assert result["structured"] == {name: value for name, value in shape.items() if (tool, name) != OWN}
            assert shape["resource_url"] and len(json.dumps(result)) < 10_000
            assert [block["type"] for block in result["content"]] == ["text", "resource_link"]
            if tool == "text":
                assert (shape["size"], shape["media_type"]) == (len(TEXT), "text/plain; charset=utf-8")
                assert shape["digest"] == f"sha256:{sha256(TEXT).hexdigest()}"
            if tool == "table":
                assert (shape["total_rows"], shape["columns"]) == (arguments["count"], ["id", "text"])
            # FastMCP's client makes no value of the tool's type of what is none.
            if tool != "mapping":
                assert result.get("data") is None, (tool, way)
    settings = load_settings(nats_url=environment["BROKER_PLANE_NATS_URL"])
    async with Plane.connect(replace(settings, trusted_hosts=HOSTS)) as plane:
        shape = seen["proxy HTTP"][len(SMALL)]["structured"]
        assert await plane.pull(shape["resource_url"], via="nats") == TEXT
