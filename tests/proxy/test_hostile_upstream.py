"""The proxy before a server that writes anything at all, and behind such a client: every request is answered."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import Queue
from typing import Any

import pytest

from broker_plane.testing.processes import memory
from tests import forked
from tests.figures import Figure
from tests.proxy.conftest import PROXY, ROOT
from tests.proxy.hostile_upstream import BEFORE, CONTENTS, GREETINGS, LISTS, MESSAGES

UPSTREAM = forked.command("tests.proxy.hostile_upstream")
LINE_BYTES = 1_000_000
PATIENCE = 30.0


class Proxied:
    """A client of the proxy, line by line. A request gets the next number, or the id that it is given."""

    def __init__(
        self, environment: dict[str, str], upstream: list[str], options: Sequence[str] = ("--consumer", "draw:data")
    ) -> None:
        self._process = subprocess.Popen(
            [*PROXY, *options, "--", *upstream],
            env=environment,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._said: Queue[bytes] = Queue()
        self.stderr: list[bytes] = []
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout, self._said.put)),
            threading.Thread(target=self._read, args=(self._process.stderr, self.stderr.append)),
        ]
        for reader in self._readers:
            reader.start()
        self._number = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, raw: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(raw + b"\n")
        self._process.stdin.flush()

    def ask(self, method: str, **params: Any) -> Any:
        """The answer: it has the request's id."""
        self._number += 1
        self.send(json.dumps({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}).encode())
        return self.answer(self._number)

    def call(self, tool: str, **arguments: Any) -> Any:
        return self.ask("tools/call", name=tool, arguments=arguments)

    def line(self) -> bytes:
        """The next line, as it came."""
        return self._said.get(timeout=PATIENCE)

    def answer(self, key: Any) -> Any:
        """The next answer with this id; a line that is no JSON is passed over."""
        while True:
            line = self._said.get(timeout=PATIENCE)
            try:
                message = json.loads(line)
            except (ValueError, RecursionError):
                if f'"id": {json.dumps(key)}'.encode() in line[:100]:
                    return line
                continue
            if isinstance(message, dict) and message.get("id") == key and "method" not in message:
                return message

    def close(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = self._process.wait(PATIENCE)
        for reader in self._readers:
            reader.join()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()
        return code

    @staticmethod
    def _read(stream: Any, take: Any) -> None:
        for line in stream:
            take(line)


@contextmanager
def behind(environment: dict[str, str], upstream: list[str] | None = None) -> Iterator[Proxied]:
    client = Proxied(environment | {"BROKER_PLANE_MAX_PROXY_MESSAGE_BYTES": str(LINE_BYTES)}, upstream or UPSTREAM)
    try:
        yield client
    finally:
        client.close()


@pytest.fixture(scope="module")
def client(environment: dict[str, str]) -> Iterator[Proxied]:
    with behind(environment) as started:
        yield started


def is_fine(client: Proxied) -> None:
    assert client.call("fine")["result"]["content"][0]["text"] == "fine"


@pytest.mark.parametrize("name", CONTENTS)
def test_a_result_of_any_form_passes(client: Proxied, name: str) -> None:
    assert client.call(name)
    is_fine(client)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_any_form_passes(client: Proxied, name: str) -> None:
    assert client.ask("tools/list", cursor=name)["result"]
    is_fine(client)


@pytest.mark.parametrize("name", MESSAGES)
def test_what_is_no_answer_is_an_error(client: Proxied, name: str) -> None:
    assert client.call(name)["error"]["code"] == -32603
    is_fine(client)


@pytest.mark.parametrize("name", BEFORE)
def test_what_comes_between_harms_no_answer(client: Proxied, name: str) -> None:
    assert client.call(name)["result"]["content"][0]["text"] == "fine"


@pytest.mark.parametrize("name", GREETINGS)
def test_a_greeting_of_any_form_passes(client: Proxied, name: str) -> None:
    info = {"name": name, "version": "1"}
    assert client.ask("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=info)["result"]
    is_fine(client)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"jsonrpc": "2.0", "id": {}, "method": "tools/call", "params": {"name": "fine"}}',
        b'{"jsonrpc": "2.0", "id": [], "method": "tools/list"}',
        b'{"jsonrpc": "2.0", "id": true, "method": "tools/list"}',
        b'{"jsonrpc": "2.0", "id": "7", "method": "tools/call", "params": []}',
        b'{"jsonrpc": "2.0", "id": "7", "method": "tools/call", "params": {"name": [], "arguments": {}}}',
        b'{"jsonrpc": "2.0", "id": "7", "method": "tools/call", "params": {"name": "draw", "arguments": []}}',
        b'{"jsonrpc": "2.0", "id": "7", "method": "tools/call", "params": {"name": "a", "_meta": []}}',
        b'{"jsonrpc": "2.0", "id": "7", "method": [], "params": {}}',
        b'{"jsonrpc": "2.0", "id": "7", "method": "initialize", "params": "x"}',
        b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": {}}}',
        b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": []}',
        b'{"jsonrpc": "2.0", "id": "7", "result": "x"}',
        b"[1, 2, 3]",
        b"\xff\xfe",
        b"[" * 5000,
        b"{}",
    ],
)
def test_a_client_may_send_anything(client: Proxied, raw: bytes) -> None:
    client.send(raw)
    is_fine(client)


def test_a_client_s_id_that_is_none_is_refused(client: Proxied) -> None:
    client.send(b'{"jsonrpc": "2.0", "id": {}, "method": "tools/list"}')
    assert client.answer(None)["error"]["code"] == -32600


@pytest.mark.parametrize("key", [5, "a text"])
@pytest.mark.parametrize("last", [False, True])
def test_a_client_s_line_that_is_too_long_is_refused_by_its_id(client: Proxied, key: Any, last: bool) -> None:
    members = ['"jsonrpc": "2.0"', f'"id": {json.dumps(key)}', '"method": "tools/list"']
    long = '"params": {"a": "%s"}' % ("x" * 2 * LINE_BYTES)
    line = [long, *members[2:], members[1]] if last else [*members, long]
    client.send(("{" + ", ".join(line) + "}").encode())
    assert client.answer(key)["error"]["code"] == -32600
    is_fine(client)


def test_whole_numbers_of_any_size_pass_and_are_published(environment: dict[str, str]) -> None:
    program = (
        "import sys, json\n"
        "rows = [{'n': 10**25 + number, 'text': 'x' * 100} for number in range(2000)]\n"
        "for line in sys.stdin:\n"
        "    asked = json.loads(line)\n"
        "    result = {'content': [], 'structuredContent': {'result': rows}}\n"
        "    print(json.dumps({'jsonrpc': '2.0', 'id': asked['id'], 'result': result}), flush=True)\n"
    )
    with behind(environment, [sys.executable, "-c", program]) as client:
        said = client.ask("tools/call", name="rows", arguments={"abstract_domains": "n"})
        shown = said["result"]["structuredContent"]["abstract"]
        assert [int(row["n"]) for row in shown] == [10**25 + number for number in range(len(shown))]
        assert 800 < len(shown) < 1000 and said["result"]["structuredContent"]["abstract_truncated"]  # 10,000 tokens


@pytest.mark.parametrize("how", ["sys.exit(3)", "os.kill(os.getpid(), 9)"])
def test_an_upstream_that_ends_leaves_no_request_without_an_answer(environment: dict[str, str], how: str) -> None:
    program = f"import os, sys, time\nsys.stdin.readline()\n{how}\n"
    client = Proxied(environment, [sys.executable, "-c", program])
    assert client.call("fine")["error"]["code"] == -32603
    assert client.close() != 0


@pytest.mark.parametrize("megabytes", [50, pytest.param(1000, marks=pytest.mark.full)])
def test_a_long_line_costs_no_memory(environment: dict[str, str], figure: Figure, megabytes: int) -> None:
    program = (
        "import sys, json\n"
        "for line in sys.stdin:\n"
        "    key = json.loads(line)['id']\n"
        "    if json.loads(line)['params'].get('name') == 'long':\n"
        f"        for _ in range({megabytes}): sys.stdout.write('x' * 1_000_000)\n"
        "        print()\n"
        "    else:\n"
        "        print(json.dumps({'jsonrpc': '2.0', 'id': key, 'result': {'content': []}}))\n"
        "    sys.stdout.flush()\n"
    )
    with behind(environment, [sys.executable, "-c", program]) as client:
        client.call("fine")
        before = memory(client.pid)["VmHWM"]
        assert "error" in client.call("long")
        assert client.call("fine")["result"] == {"content": []}
        more = memory(client.pid)["VmHWM"] - before
    figure(
        "a line of 1 GB from an upstream",
        f"{megabytes} MB: + {more / (1 << 20):.0f} MiB",
        aim="+ 64 MB",
        met=more < 64 << 20,
    )
    assert more < 64 << 20
