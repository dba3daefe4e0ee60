"""The proxy before a URL whose answers have no end or no form, and the cookies and credentials of its clients."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx2
import pytest
from msgspec.structs import replace

from broker_plane.config import Settings
from broker_plane.proxy.options import ProxyOptions
from broker_plane.proxy.run import connected_rules
from broker_plane.proxy.url_app import url_proxy
from broker_plane.testing.processes import memory
from tests.faults.hostile_answers import HostileServer, hostile
from tests.proxy.test_hostile_upstream import Proxied

pytestmark = pytest.mark.anyio
LINE_BYTES = 1_000_000
BOUND_BYTES = 64 << 20
NAMES = (
    "gzip", "zstd", "br", "endless", "endless-until-closed", "length", "deep", "header-line", "status-line", "not-http",
    "ok-gzip", "ok-zstd", "ok-deflate", "ok-br", "ok-gzip-empties", "ok-endless", "ok-until-closed", "ok-length",
    "ok-deep", "ok-other", "ok-no-json", "events-line", "events-data", "events-gzip", "raw-endless",
)  # fmt: skip
SHOWN = ("gzip", "endless", "not-http", "ok-gzip", "ok-zstd", "ok-endless", "ok-length", "events-line", "events-gzip")
ASKED = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "a", "arguments": {}}}
HEADERS = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-06-18"}


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with hostile() as started:
        yield started


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SHOWN else [pytest.mark.full]) for name in NAMES]
)
async def test_an_answer_over_http_is_bounded(server: HostileServer, settings: Settings, name: str) -> None:
    before = memory()["VmHWM"]
    async with (
        connected_rules(ProxyOptions(), replace(settings, max_proxy_message_bytes=LINE_BYTES)) as rules,
        url_proxy(rules, f"{server.url}/{name}/mcp", "127.0.0.1", 0, {}, LINE_BYTES) as url,
        httpx2.AsyncClient(trust_env=False, timeout=25) as client,
    ):
        answer = await client.post(url, json=ASKED, headers=HEADERS)
    assert len(answer.content) < 2 * LINE_BYTES
    assert memory()["VmHWM"] - before < BOUND_BYTES
    if name.startswith("events"):
        assert b'"error"' in answer.content and b'"id":7' in answer.content
    elif name not in ("header-line", "status-line", "not-http", "deep", "ok-deep", "ok-other", "ok-no-json"):
        assert answer.json()["error"]["message"] and answer.json()["id"] == 7


@pytest.mark.parametrize(
    "name",
    [
        "ok-gzip",
        "not-http",
        "events-line",
        *(pytest.param(name, marks=pytest.mark.full) for name in ("gzip", "ok-endless", "ok-no-json", "redirect")),
    ],
)
def test_an_answer_to_standard_streams_is_bounded(
    server: HostileServer, environment: dict[str, str], name: str
) -> None:
    client = Proxied(
        environment | {"BROKER_PLANE_MAX_PROXY_MESSAGE_BYTES": str(LINE_BYTES)}, [f"{server.url}/{name}/mcp"]
    )
    assert "error" in client.call("a")
    assert "error" in client.call("a")
    assert memory(client.pid)["VmHWM"] < 400 << 20
    assert client.close() == 0


class _Baker(BaseHTTPRequestHandler):
    """Gives every client a cookie, and says what came."""

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        said = json.dumps({"jsonrpc": "2.0", "id": 7, "result": {"cookie": self.headers.get("cookie")}}).encode()
        self.send_response(200)
        for name, value in (("content-type", "application/json"), ("set-cookie", "of=one; Path=/")):
            self.send_header(name, value)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)


@pytest.fixture
def baker() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Baker) as started:
        thread = Thread(target=started.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{started.server_port}"
        started.shutdown()
        thread.join()


async def test_a_cookie_of_one_client_goes_with_no_other(baker: str, settings: Settings) -> None:
    async with connected_rules(ProxyOptions(), settings) as rules, url_proxy(rules, baker, "127.0.0.1", 0, {}) as url:
        for _ in range(2):
            async with httpx2.AsyncClient(trust_env=False) as client:
                answer = await client.post(url, json=ASKED, headers=HEADERS)
                assert answer.json()["result"]["cookie"] is None
                assert answer.headers["set-cookie"].startswith("of=one")


def test_the_proxy_of_the_environment_reads_nothing_that_goes_over_http(
    server: HostileServer, environment: dict[str, str]
) -> None:
    heads = len(server.heads)
    given = environment | {"HTTP_PROXY": f"{server.url}", "http_proxy": f"{server.url}"}
    client = Proxied(given, ["http://127.0.0.1:9/mcp"])
    assert "error" in client.call("a")
    client.close()
    assert server.heads[heads:] == []


def test_standard_streams_before_nobody_answer(environment: dict[str, str]) -> None:
    client = Proxied(environment, ["http://127.0.0.1:9/mcp"])
    for raw in (
        b'{"jsonrpc": "2.0", "id": 5, "method": 7}',
        b'{"jsonrpc": "2.0", "id": 5, "method": "a", "params": 7}',
    ):
        client.send(raw)
        assert client.answer(5)["error"]
    assert "error" in client.call("a")
    assert client.close() == 0, sys.stderr
