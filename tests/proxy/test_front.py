"""HTTP before a command: both eras on one endpoint; and credentials for a server that the proxy reaches by URL."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.types import LoggingMessageNotificationParams

from broker_plane.config import Settings
from broker_plane.errors import ConfigError
from broker_plane.proxy.endpoint import answer
from broker_plane.proxy.options import ProxyOptions
from broker_plane.proxy.run import connected_rules, credentials_of, run_proxy
from broker_plane.proxy.url_app import url_proxy
from broker_plane.web.server import HttpServer

from .conftest import ERAS, OPTIONS, PROXY, ROOT, UPSTREAM, command_proxy, there
from .upstream import digest, table

pytestmark = pytest.mark.anyio
both_eras = pytest.mark.parametrize("era", ERAS)
CLIENTS = 2
MARKED = """
import os, pathlib, sys
pathlib.Path(sys.argv[1], str(os.getpid())).touch()
from tests.proxy.upstream import mcp
mcp.run()
"""
SECRET = "Bearer only-for-the-upstream"


@pytest.fixture(scope="module")
def front_url(environment: dict[str, str]) -> Iterator[str]:
    with command_proxy(UPSTREAM, environment, *OPTIONS) as url:
        yield url


async def test_requests_for_log_messages_share_a_process_one_after_another(
    environment: dict[str, str], tmp_path: Path
) -> None:
    told: list[Any] = []

    async def hear(params: LoggingMessageNotificationParams) -> None:
        told.append(params.data)

    with command_proxy([sys.executable, "-c", MARKED, str(tmp_path)], environment) as url:
        async with Client(url, logging_callback=hear, log_level="info") as client:
            for number in range(4):
                await client.call_tool("says", {"text": str(number)})
    assert told == ["0", "1", "2", "3"]
    # One for these, and one for requests without log messages.
    assert len([*tmp_path.iterdir()]) <= 2  # noqa: ASYNC240


@both_eras
async def test_a_command_is_reached_over_http_in_both_eras(front_url: str, tmp_path: Path, era: str) -> None:
    told: list[Any] = []
    steps: list[float] = []

    async def hear(params: LoggingMessageNotificationParams) -> None:
        told.append(params.data)

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    mark = tmp_path / "cancelled"
    async with Client(front_url, mode=era, logging_callback=hear, log_level="info") as client:
        await client.call_tool("says", {"text": "heard"})
        await client.call_tool("says", {"text": "again"})
    assert told == ["heard", "again"]
    async with Client(front_url, mode=era) as client:
        assert (client.session.protocol_version or "")[:4] == ("2026" if era == "auto" else "2025")
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert "abstract_domains" in tools["rows"].input_schema["properties"]
        assert (await client.read_resource("test://page/7")).contents
        assert (await client.call_tool("fails", {"size": 9})).is_error
        assert not (await client.call_tool("steps", {"count": 3}, progress_callback=tell)).is_error
        large = await client.call_tool("rows", {"count": 2_000})
        assert large.content[0].type == "text"
        url = json.loads(large.content[0].text)["resource_url"]
        drawn = await client.call_tool("draw", {"resource_url": url})
        assert drawn.content[0].type == "text" and drawn.content[0].text == f":2000:{digest(table(2_000))}"
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_tool, "waits", {"path": str(mark)})
                await there(mark.with_suffix(".begun"))
                tasks.cancel_scope.cancel()
            await there(mark)
        assert (await client.call_tool("echo", {"text": "still there"})).structured_content == {"result": "still there"}
    assert sorted(steps) == [1, 2, 3]


@pytest.mark.parametrize("era", ["auto", pytest.param("legacy", marks=pytest.mark.full)])  # there: a process for each
async def test_clients_at_once_get_their_own_answers_and_progress(front_url: str, tmp_path: Path, era: str) -> None:
    """Clients count their requests alike, so ids and tokens of different clients are the same; one answer is late."""
    held: list[Any] = []

    async def hold(path: Path) -> None:
        async with Client(front_url, mode=era) as client:
            held.append((await client.call_tool("holds", {"path": str(path)})).structured_content)

    seen: dict[tuple[int, int], list[float]] = {}

    async def client_of(number: int) -> None:
        async with Client(front_url, mode=era) as client:

            async def one(call: int) -> None:
                heard = seen.setdefault((number, call), [])

                async def tell(progress: float, total: float | None, message: str | None) -> None:
                    heard.append(progress)

                await client.call_tool("steps", {"count": 1 + number}, progress_callback=tell)
                result = await client.call_tool("echo", {"text": f"{number} {call}"})
                assert result.structured_content == {"result": f"{number} {call}"}

            async with anyio.create_task_group() as tasks:
                for call in range(10):
                    tasks.start_soon(one, call)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as holding:
            holding.start_soon(hold, tmp_path / "release")
            await there(tmp_path / "release.begun")
            async with anyio.create_task_group() as tasks:
                for number in range(CLIENTS):
                    tasks.start_soon(client_of, number)
            (tmp_path / "release").touch()
    assert held == [{"result": "held"}]
    assert {key: len(heard) for key, heard in seen.items()} == {
        (n, c): 1 + n for n in range(CLIENTS) for c in range(10)
    }


async def test_a_process_that_ends_is_an_error_and_the_next_request_gets_a_new_one(front_url: str) -> None:
    async with Client(front_url, mode="auto") as client:
        assert (await client.call_tool("echo", {"text": "a"})).structured_content == {"result": "a"}
        with pytest.raises(Exception, match="ended before it answered"):
            await client.call_tool("ends", {})
        assert (await client.call_tool("echo", {"text": "b"})).structured_content == {"result": "b"}


async def test_what_is_no_request_of_either_era_is_refused(front_url: str) -> None:
    modern = {"mcp-protocol-version": "2026-07-28", "content-type": "application/json"}
    async with httpx2.AsyncClient() as http:

        async def status(method: str = "POST", **given: Any) -> int:
            return (await http.request(method, front_url, **given)).status_code

        assert await status(json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"}) == 400
        assert await status(headers={"mcp-session-id": "none"}, json={"jsonrpc": "2.0", "method": "x"}) == 404
        assert await status("GET", headers=modern) == 405
        assert await status(headers=modern, content=b"{") == 400
        assert await status(headers=modern, json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"}) == 400
        assert await status(headers=modern, json={"jsonrpc": "2.0", "method": "notifications/x"}) == 202
        assert await status(headers={"host": "example.com"}, json={}) == 421
        assert await status(headers={"origin": "https://example.com"}, json={}) == 403
        assert await status(content=b"x" * (17 << 20)) == 413


@asynccontextmanager
async def guarded(target: str) -> AsyncIterator[tuple[str, list[str]]]:
    """A server before `target` that passes on who says `SECRET` and answers 401 to others; and what it was told."""
    told: list[str] = []
    async with httpx2.AsyncClient(timeout=None) as client:

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return
            headers = dict(scope["headers"])
            told.append(headers.get(b"authorization", b"").decode())
            body = (await receive()).get("body", b"")
            if told[-1] != SECRET:
                await answer(send, 401, [], b"")
                return
            kept = [(k, v) for k, v in scope["headers"] if k not in (b"host", b"authorization", b"content-length")]
            response = await client.request(scope["method"], target, headers=kept, content=body or None)
            back = [(b"content-type", response.headers.get("content-type", "text/plain").encode())]
            await answer(send, response.status_code, back, response.content)

        async with HttpServer(app, "127.0.0.1", 0, stop_seconds=1) as server:
            yield f"{server.url}/mcp", told


@pytest.mark.parametrize("way", ["standard streams", "http"])
async def test_a_header_from_the_environment_reaches_the_upstream_and_no_command_line(
    upstream_url: str, environment: dict[str, str], settings: Settings, way: str
) -> None:
    option = ["--header-env", "Authorization=UPSTREAM_AUTHORIZATION"]
    given = environment | {"UPSTREAM_AUTHORIZATION": SECRET}
    async with guarded(upstream_url) as (url, told), AsyncExitStack() as stack:
        if way == "http":
            rules = await stack.enter_async_context(connected_rules(ProxyOptions(), settings))
            credentials = credentials_of(option[1:], given)
            proxied: Any = await stack.enter_async_context(url_proxy(rules, url, "127.0.0.1", 0, credentials))
        else:
            arguments = [*PROXY[1:], *option, "--", url]
            proxied = StdioServerParameters(command=PROXY[0], args=arguments, env=given, cwd=ROOT)
        client = await stack.enter_async_context(Client(proxied, mode="2026-07-28"))
        result = await client.call_tool("echo", {"text": "let in"})
        assert result.structured_content == {"result": "let in"}
    assert set(told) == {SECRET}


async def test_credentials_that_would_be_seen_or_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert credentials_of(["X-Key=KEY"], {"KEY": "value"}) == {"X-Key": "value"}
    for given in ("Authorization", "Authorization=NOT_SET", "X Key=KEY", "X-Key=LINES"):
        with pytest.raises(ConfigError, match="header-env"):
            credentials_of([given], {"KEY": "value", "LINES": "a\r\nX-More: b"})
    monkeypatch.setenv("KEY", "value")
    for upstream in (["http://example.com/mcp"], ["some-command"]):
        with pytest.raises(ConfigError, match="header-env"):
            await run_proxy(upstream, ProxyOptions(), header_env=["X-Key=KEY"])
