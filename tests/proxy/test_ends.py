"""How the proxy and what it started end, and what it does when a server that is a URL is away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx2
import psutil
import pytest

from broker_plane.testing.server import wait_for
from tests.ports import free_port
from tests.proxy.conftest import ROOT, command_proxy, listens, running
from tests.proxy.conftest import STARTED_PROXY as PROXY
from tests.proxy.conftest import STARTED_UPSTREAM as UPSTREAM
from tests.proxy.test_hostile_upstream import Proxied

STUBBORN = """
import os, signal, sys, time, json
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(number, signal.SIG_IGN)
open(sys.argv[1], "w").write(str(os.getpid()))
for line in sys.stdin:
    asked = json.loads(line)
    if "id" in asked:
        result = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
while True: time.sleep(1)
"""
GREETING: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "c", "version": "1"},
    },
}
ACCEPT = {"accept": "application/json, text/event-stream"}
PATIENCE = 60.0


def lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def there(path: Path) -> int:
    wait_for(lambda: path.exists() and path.read_text() != "", "the server to start", PATIENCE)
    return int(path.read_text())


@contextmanager
def stubborn(environment: dict[str, str], tmp_path: Path, *, front: str, nested: bool) -> Iterator[tuple[Any, int]]:
    """The proxy's process, and the pid of a server behind it that ends by SIGKILL only."""
    mark = tmp_path / "pid"
    command = [sys.executable, "-c", STUBBORN, str(mark)]
    if nested:
        script = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
        command = [sys.executable, "-c", script, *command]
    options = ["--http", "0", "--json"] if front == "http" else []
    process = subprocess.Popen(
        [*PROXY, *options, "--", *command],
        env=environment,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin and process.stdout and process.stderr
    try:
        if front == "http":
            url = json.loads(process.stdout.readline())["url"]
            httpx2.post(url, json=GREETING, headers=ACCEPT, timeout=PATIENCE)
        yield process, there(mark)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()
        if mark.exists() and lives(int(mark.read_text())):
            os.kill(int(mark.read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    ("front", "number", "nested"),
    [
        ("stdio", signal.SIGTERM, False),
        ("stdio", signal.SIGHUP, True),
        pytest.param("stdio", signal.SIGINT, False, marks=pytest.mark.full),
        ("stdio", signal.SIGKILL, False),
        ("http", signal.SIGTERM, True),
        pytest.param("http", signal.SIGHUP, False, marks=pytest.mark.full),
        pytest.param("http", signal.SIGINT, False, marks=pytest.mark.full),
        ("http", signal.SIGKILL, False),
        pytest.param("stdio", 0, True, marks=pytest.mark.full),
        pytest.param("http", 0, True, marks=pytest.mark.full),
    ],
)
def test_no_server_outlives_the_proxy(
    environment: dict[str, str], tmp_path: Path, front: str, number: int, nested: bool
) -> None:
    with stubborn(environment, tmp_path, front=front, nested=nested) as (process, pid):
        if number:
            process.send_signal(number)
        elif front == "stdio":
            process.stdin.close()
        else:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGTERM)  # who asks twice gets no grace
        code = process.wait(PATIENCE)
        wait_for(lambda: not lives(pid), "the server to end", PATIENCE)
        if number == signal.SIGKILL:
            assert code == -number
        elif number in (signal.SIGTERM, signal.SIGHUP):
            assert code == 128 + number
        assert b"Traceback" not in process.stderr.read()


def test_a_url_that_is_away_costs_the_calls_and_nothing_else(environment: dict[str, str]) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    client = Proxied(environment, [url], [])
    opened: dict[str, Any] = GREETING["params"]

    def told(text: str) -> Any:
        return client.call("echo", text=text).get("result", {}).get("structuredContent")

    assert "cannot be reached" in client.ask("initialize", **opened)["error"]["message"]
    for turn in range(2):
        with running([*UPSTREAM, str(port)], environment):
            wait_for(lambda: listens(url), "the upstream to listen", 30)
            if turn == 0:
                assert client.ask("initialize", **opened)["result"]["serverInfo"]
                client.send(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}')
            assert told("here") == {"result": "here"}
            assert told("here again") == {"result": "here again"}
        assert "cannot be reached" in client.call("echo", text="away")["error"]["message"]
    assert client.close() == 0
    said = b"".join(client.stderr).decode()
    assert "Traceback" not in said and len(said.splitlines()) <= 5, said


def test_a_message_without_a_method_answers_nobody(environment: dict[str, str], upstream_url: str) -> None:
    with closing(Proxied(environment, [upstream_url], [])) as client:
        client.send(b'{"id": 1}')
        assert json.loads(client.line()) == {
            "jsonrpc": "2.0",
            "id": None,
            "error": {"code": -32600, "message": "This is not an MCP message: jsonrpc is not 2.0"},
        }
        assert client.ask("initialize", **GREETING["params"])["result"]["serverInfo"]


@pytest.mark.parametrize("upstream", ["command", "url"])
def test_a_request_by_a_pipe_is_answered_before_the_end(
    environment: dict[str, str], upstream_url: str, upstream: str
) -> None:
    command = UPSTREAM if upstream == "command" else [upstream_url]
    lines = (
        [GREETING, {"jsonrpc": "2.0", "method": "notifications/initialized"}] if upstream == "command" else [GREETING]
    )
    raw = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    done = subprocess.run(
        [*PROXY, "--", *command], input=raw, env=environment, cwd=ROOT, capture_output=True, timeout=60
    )
    assert json.loads(done.stdout)["result"]["serverInfo"]["name"] == "upstream"
    assert done.returncode == 0, done.stderr


class _Redirecting(BaseHTTPRequestHandler):
    """/STATUS/… leads to /here; /away/… to another origin; what comes to /here is told."""

    protocol_version = "HTTP/1.1"
    elsewhere = ""

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        word = self.path.split("/")[1]
        if word in ("here", "mcp"):
            asked = json.loads(raw)
            told: dict[str, Any] = {"body": raw.decode(), "key": self.headers.get("x-key"), "content": []}
            said = json.dumps({"jsonrpc": "2.0", "id": asked.get("id"), "result": told}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
        else:
            said = b""
            status, _, target = word.partition("-")
            self.send_response(int(status))
            self.send_header(
                "location", {"away": self.elsewhere, "loop": self.path, "bad": "http://["}.get(target, "/here")
            )
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)


@pytest.fixture
def redirecting() -> Iterator[str]:
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), _Redirecting) as other,
        ThreadingHTTPServer(("127.0.0.1", 0), _Redirecting) as started,
    ):
        _Redirecting.elsewhere = f"http://127.0.0.1:{other.server_port}/here?token=secret"
        threads = [Thread(target=each.serve_forever, args=(0.02,)) for each in (other, started)]
        for thread in threads:
            thread.start()
        yield f"http://127.0.0.1:{started.server_port}"
        for each in (other, started):
            each.shutdown()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(
    ("front", "statuses", "refused"),
    [
        ("stdio", ["307"], 1),
        ("http", ["308"], 1),
        pytest.param("stdio", ["301", "302", "308"], 3, marks=pytest.mark.full),
        pytest.param("http", ["301", "302", "307"], 3, marks=pytest.mark.full),
    ],
)
def test_redirects_of_the_same_origin_are_followed_and_no_others(
    environment: dict[str, str], redirecting: str, front: str, statuses: list[str], refused: int
) -> None:
    given = environment | {"KEY": "only for this origin"}
    option = ("--header-env", "X-Key=KEY")

    def asked(path: str) -> Any:
        if front == "stdio":
            with closing(Proxied(given, [f"{redirecting}/{path}"], option)) as client:
                return client.call("a", n=1)
        with command_proxy([f"{redirecting}/{path}"], given, *option) as url:
            message = {
                "jsonrpc": "2.0",
                "id": 1,
                "method": "tools/call",
                "params": {"name": "a", "arguments": {"n": 1}},
            }
            return httpx2.post(url, json=message, headers=ACCEPT, timeout=PATIENCE).json()

    for status in statuses:
        found = asked(f"{status}/mcp")["result"]
        assert found["key"] == "only for this origin"
        assert json.loads(found["body"])["params"]["arguments"] == {"n": 1}
    for path, said in (("307-away", "another origin"), ("307-loop", "too often"), ("308-bad", "another origin"))[
        :refused
    ]:
        message = asked(path)["error"]["message"]
        assert said in message and "secret" not in message


@pytest.mark.parametrize(
    ("front", "names"),
    [
        ("stdio", ["ALL_PROXY"]),
        pytest.param("stdio", ["HTTPS_PROXY", "all_proxy", "https_proxy"], marks=pytest.mark.full),
        ("http", ["HTTPS_PROXY"]),
        pytest.param("http", ["ALL_PROXY", "all_proxy"], marks=pytest.mark.full),
    ],
)
def test_a_proxy_of_the_environment_is_the_same_for_both_fronts(
    environment: dict[str, str], front: str, names: list[str]
) -> None:
    asked: list[bytes] = []

    class Connecting(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

        def do_CONNECT(self) -> None:
            asked.append(self.path.encode())
            self.send_error(502)

    def given(**proxies: str) -> dict[str, str]:
        kept = {name: value for name, value in environment.items() if not name.lower().endswith("_proxy")}
        return kept | proxies

    options = ["--http", "0", "--json"] if front == "http" else []

    def refused(url: str, **proxies: str) -> str:
        command = [*PROXY, *options, "--", url]
        done = subprocess.run(
            command, input=b"", env=given(**proxies), cwd=ROOT, capture_output=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 1
        return done.stderr.decode()

    for name in names:
        said = refused("https://upstream.test/mcp", **{name: "socks5://127.0.0.1:9"})
        assert "socks5 proxy, which is not supported" in said and len(said.strip().splitlines()) == 1

    def call(url: str, **proxies: str) -> Any:
        if front == "stdio":
            with closing(Proxied(given(**proxies), [url], [])) as client:
                return client.call("a")
        with command_proxy([url], given(**proxies)) as proxied:
            message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "a", "arguments": {}}}
            return httpx2.post(proxied, json=message, headers=ACCEPT, timeout=PATIENCE).json()

    with ThreadingHTTPServer(("127.0.0.1", 0), Connecting) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        through = f"http://127.0.0.1:{server.server_port}"
        assert "error" in call("https://upstream.test/mcp", HTTPS_PROXY=through)
        assert asked == [b"upstream.test:443"]
        # Not for this server, nor for what a proxy would read.
        assert "error" in call("http://127.0.0.1:9/mcp", ALL_PROXY="socks5://127.0.0.1:9", HTTP_PROXY=through)
        assert asked == [b"upstream.test:443"]
        server.shutdown()
        thread.join()
