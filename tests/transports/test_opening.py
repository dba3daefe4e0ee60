"""Servers of every kind open as upstreams, and the SDK's client works over each of them in both eras."""

from __future__ import annotations

from pathlib import Path

import pytest
from mcp import Client
from mcp.server import Server

from broker_plane import PlaneServer
from broker_plane.errors import ConfigError
from broker_plane.proxy.upstream import Open
from broker_plane.transports.opening import in_process, load_server, open_upstream
from broker_plane.transports.sdk_streams import client_streams
from tests.transports import sample_server
from tests.transports.conftest import ERAS, SAMPLE, SAMPLE_FILE

pytestmark = pytest.mark.anyio


@pytest.fixture(
    params=[
        "python",
        pytest.param("file", marks=pytest.mark.full),
        "command",
        pytest.param("url", marks=pytest.mark.full),
    ]
)
def opened(request: pytest.FixtureRequest) -> Open:
    if request.param == "url":
        return open_upstream([request.getfixturevalue("sample_url")])
    ways = {"python": lambda: in_process(sample_server.mcp)}
    words = {"file": [f"{SAMPLE_FILE}:mcp"], "command": ["--", *SAMPLE]}
    return ways[request.param]() if request.param in ways else open_upstream(words[request.param])


@pytest.mark.parametrize("era", [ERAS[0], pytest.param(ERAS[1], marks=pytest.mark.full)])
async def test_the_client_of_the_sdk_uses_an_upstream(opened: Open, era: str) -> None:
    steps: list[float] = []

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async with Client(client_streams(opened), mode=era) as client:
        assert (await client.call_tool("add", {"a": 3})).structured_content == {"result": 5}
        assert (await client.call_tool("count", {"to": 3}, progress_callback=heard)).structured_content == {"result": 3}
        assert (await client.call_tool("fail", {})).is_error
        assert {tool.name for tool in (await client.list_tools()).tools} > {"add", "count"}
    assert steps == [1, 2, 3]


async def test_a_plane_server_and_a_low_level_server_open(settings: object) -> None:
    for server in (PlaneServer("one"), Server("two")):
        async with Client(client_streams(in_process(server))) as client:
            assert client.server_info is not None
            assert client.server_info.name in ("one", "two")


async def test_the_lifespan_of_a_server_ends_with_its_upstream(tmp_path: Path) -> None:
    module = tmp_path / "lasting.py"
    module.write_text(
        "from contextlib import asynccontextmanager\n"
        "from pathlib import Path\n"
        "from mcp.server.mcpserver import MCPServer\n"
        "@asynccontextmanager\n"
        "async def lifespan(server):\n"
        "    yield\n"
        f"    Path({str(tmp_path / 'ended')!r}).touch()\n"
        "app = MCPServer('lasting', lifespan=lifespan)\n"
    )
    async with Client(client_streams(open_upstream([str(module)]))) as client:
        await client.list_tools()
        assert not (tmp_path / "ended").exists()
    assert (tmp_path / "ended").exists()


@pytest.mark.parametrize(
    ("text", "named", "said"),
    [
        ("x = 1", "", "has no server named mcp, server, app"),
        ("x = 1", ":x", "int is not an MCPServer"),
        ("x = 1", ":y", "has no 'y'"),
        ("1 / 0", "", "cannot be run: ZeroDivisionError"),
        (None, "", "is not a file"),
    ],
)
def test_a_file_without_a_server_is_an_error_that_says_so(
    text: str | None, named: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "wrong.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_server(f"{path}{named}")


def test_words_that_name_no_server_are_refused() -> None:
    with pytest.raises(ConfigError, match="Name a server"):
        open_upstream([])
    with pytest.raises(ConfigError, match="--header-env is for the URL"):
        open_upstream(["--", "ls"], {"x-key": "1"})
