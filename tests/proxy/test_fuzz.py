"""Random messages in both directions, over each front: no traceback, no request without an answer, no silent change."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import httpx2
import pytest

from broker_plane.testing.server import wait_for
from tests import forked
from tests.ports import free_port
from tests.proxy.conftest import PROXY, ROOT, listens, running
from tests.proxy.test_hostile_upstream import Proxied

UPSTREAM = forked.command("tests.proxy.scripted")
MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "fuzz", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
SCALARS = (
    "null", "true", "-0", "1.10", "1e2", "1E400", "-1e-400", "NaN", "Infinity", "123456789012345678901234567890",
    "9" * 5000,
    '""', '"x"', r'"cut \ud83d"', r'"\ude00\ud83d"', r'"\u0000"', '"\udcff\udcfe"', '"😀"', r'"\u2028"', '"#LONG"',
    "[]", "{}",
    '{"a": 1, "a": 2}', "[" * 600 + "]" * 600, '{"$ref": "#"}', '{"id": 7}', '"@"', '"resource_url"', "{", '"', "\x00",
)  # fmt: skip
NAMES = (
    "content",
    "structuredContent",
    "isError",
    "_meta",
    "result",
    "tools",
    "text",
    "type",
    "resultType",
    "id",
    "x",
    "",
)
LINES = 40
LONG = "y" * 80_000


def value(chance: random.Random, depth: int = 0) -> str:
    """A text that is JSON, or nearly."""
    kind = chance.random()
    if depth > 3 or kind < 0.5:
        return chance.choice(SCALARS)
    if kind < 0.75:
        members = (f'"{chance.choice(NAMES)}": {value(chance, depth + 1)}' for _ in range(chance.randint(0, 3)))
        return "{" + ", ".join(members) + "}"
    return "[" + ",".join(value(chance, depth + 1) for _ in range(chance.randint(0, 3))) + "]"


def result(chance: random.Random) -> str:
    text = chance.choice(SCALARS) if chance.random() < 0.8 else '"#LONG"'
    blocks = f'[{{"type": "text", "text": {text}}}]' if chance.random() < 0.8 else value(chance)
    structured = ', "structuredContent": ' + value(chance) if chance.random() < 0.6 else ""
    return f'{{"content": {blocks}{structured}}}'


def line(chance: random.Random) -> str:
    kind = chance.random()
    if kind < 0.7:
        return f'{{"jsonrpc":"2.0","id":@,"result":{result(chance)}}}'.replace("#LONG", LONG)
    if kind < 0.85:
        return f'{{"result":{value(chance)},"id":@,"jsonrpc":"2.0","more":{value(chance)}}}'.replace("#LONG", LONG)
    return f'{{"jsonrpc":"2.0","id":@,"error":{value(chance)}}}'.replace("#LONG", LONG)


def script(chance: random.Random) -> dict[str, Any]:
    lines = {f"fuzz{number}": line(chance).replace("\n", " ") for number in range(LINES)}
    tools = [{"name": name, "inputSchema": {"type": "object"}} for name in [*lines, "draw"]]
    return {"tools": tools, "lines": lines}


def numbered(text: str) -> Any:
    """What a text says, with numbers as they are written."""
    whole = lambda digits: digits if len(digits) > 30 else str(int(digits))  # noqa: E731
    return json.loads(text, parse_int=whole, parse_float=float, parse_constant=str)


def unchanged(sent: str, got: dict[str, Any]) -> bool:
    """Whether an answer is an error of the proxy's, an offer, or what the upstream said."""
    error = got.get("error")
    if isinstance(error, dict) and error.get("code") == -32603:
        return True
    structured = got.get("result", {}).get("structuredContent") if isinstance(got.get("result"), dict) else None
    if isinstance(structured, dict) and "resource_url" in structured:
        return len(sent) > 64 * 1024
    try:
        meant = numbered(sent)
    except (ValueError, RecursionError):
        return False
    names = ("result", "error")
    came = numbered(got["raw"])
    return {name: meant.get(name) for name in names} == {name: came.get(name) for name in names}


class OverHttp:
    """A client over HTTP, in one era."""

    def __init__(self, url: str, era: str) -> None:
        self._url, self._era = url, era
        self._headers = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
        self._client = httpx2.Client(trust_env=False, timeout=30)
        self._number = 0
        if era == "legacy":
            info = {"name": "fuzz", "version": "1"}
            params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info}
            message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
            answer = self._client.post(self._url, headers=self._headers, json=message)
            if session := answer.headers.get("mcp-session-id"):
                self._headers["mcp-session-id"] = session
            self._headers["mcp-protocol-version"] = "2025-06-18"
            self.post(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}')

    def post(self, raw: bytes, **headers: str) -> httpx2.Response:
        return self._client.post(self._url, headers=self._headers | headers, content=raw)

    def call(self, tool: str) -> dict[str, Any]:
        self._number += 1
        params: dict[str, Any] = {"name": tool, "arguments": {}}
        headers = {}
        if self._era == "modern":
            params["_meta"] = META
            headers = {"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": tool}
        message = {"jsonrpc": "2.0", "id": self._number, "method": "tools/call", "params": params}
        answer = self.post(json.dumps(message).encode(), **headers)
        text = answer.content.decode("utf-8", "surrogateescape")
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            datas = [each[5:].strip() for each in text.split("\n") if each.startswith("data:")]
            text = next((data for data in reversed(datas) if data), "")
        return read(text)

    def close(self) -> None:
        self._client.close()


def read(text: str) -> dict[str, Any]:
    """The message, and in `raw` how it was written; of what is no JSON only that. Clients may read it all the same."""
    try:
        found = json.loads(text, parse_int=lambda digits: int(digits[:20]), parse_constant=str)
    except (ValueError, RecursionError):
        found = {}
    return {**(found if isinstance(found, dict) else {}), "raw": text}


@contextmanager
def front(way: str, environment: dict[str, str], path: Path, errors: Path) -> Iterator[Any]:
    """A client behind the proxy, and `errors`, where the proxy says what it has to say."""
    command = [*UPSTREAM, str(path)]
    if way == "stdio":
        with closing(Proxied(environment, command, ["--consumer", "draw:data"])) as client:
            yield client
            errors.write_bytes(b"".join(client.stderr))
        return
    if way == "stdio-url":
        port = free_port()
        url = f"http://127.0.0.1:{port}/"
        with running([*command, str(port)], environment):
            wait_for(lambda: listens(url), "the upstream to listen", 30)
            with closing(Proxied(environment, [url], ["--consumer", "draw:data"])) as client:
                yield client
        errors.write_bytes(b"".join(client.stderr))
        return
    _, upstream, era = way.split("-")
    with errors.open("wb") as log:
        if upstream == "url":
            port = free_port()
            with running([*command, str(port)], environment):
                wait_for(lambda: listens(f"http://127.0.0.1:{port}/"), "the upstream to listen", 30)
                yield from behind([f"http://127.0.0.1:{port}/mcp"], era, environment, log)
        else:
            yield from behind(command, era, environment, log)


def behind(command: list[str], era: str, environment: dict[str, str], log: Any) -> Iterator[OverHttp]:
    words = [*PROXY, "--http", "0", "--json", "--consumer", "draw:data", "--", *command]
    process = subprocess.Popen(words, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=log)
    assert process.stdout is not None
    try:
        with closing(OverHttp(json.loads(process.stdout.readline())["url"], era)) as client:
            yield client
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def asked(client: Proxied, number: int, tool: str) -> dict[str, Any]:
    """The answer on standard streams: by its id, wherever in the line that stands."""
    params = {"name": tool, "arguments": {}}
    client.send(json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}).encode())
    while True:
        text = client.line().decode("utf-8", "surrogateescape")
        found = read(text)
        if found.get("id") == number or ("id" not in found and f'"id":{number},' in text):
            return found


def talked(client: Any, said: dict[str, str], chance: random.Random) -> None:
    """Every call is answered by what the upstream said, an error or an offer; junk between changes nothing."""
    for number, (name, sent) in enumerate(said.items(), 1):
        junk = value(chance).replace("#LONG", LONG).replace("\n", " ").encode("utf-8", "surrogateescape")
        if isinstance(client, OverHttp):
            assert client.post(junk).status_code < 600
        else:
            client.send(junk)
        got = client.call(name) if isinstance(client, OverHttp) else asked(client, number, name)
        if "id" in got:
            assert unchanged(sent.replace('"id":@', '"id":0'), got), (name, sent[:300], str(got)[:300])
        else:
            assert got["raw"].strip() == sent.replace('"id":@', f'"id":{number}').strip(), name


WAYS = ("stdio", "stdio-url", "http-command-modern", "http-command-legacy", "http-url-legacy")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seconds", [0, pytest.param(60, marks=pytest.mark.full)])
def test_random_messages_change_nothing(environment: dict[str, str], tmp_path: Path, way: str, seconds: int) -> None:
    seed = random.randrange(1 << 32) if seconds else 12
    ends = monotonic() + seconds
    while True:
        chance = random.Random(seed)
        planned = script(chance)
        path, errors = tmp_path / f"{seed}.json", tmp_path / f"{seed}.log"
        path.write_text(json.dumps(planned))
        try:
            with front(way, environment, path, errors) as client:
                talked(client, planned["lines"], chance)
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
        assert b"Traceback" not in errors.read_bytes(), seed
        if monotonic() > ends:
            break
        seed += 1
