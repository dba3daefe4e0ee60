"""The built-in descriptions: all are there, well-formed, complete, and their examples do what the texts say."""

from __future__ import annotations

import ast
import asyncio
import base64
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import websockets.asyncio.server

from broker_plane.errors import RegistryError
from broker_plane.levels.tiers import tiers_of
from broker_plane.registry.canonical import canonical
from broker_plane.registry.composition import compose
from broker_plane.registry.description import TIERS, parse_description
from broker_plane.registry.level2 import level2_descriptor
from broker_plane.registry.registered import builtin_protocols
from broker_plane.sandbox.monty import MontyRung
from broker_plane.sandbox.ports import DoorResponse, Job

TOMCP = (
    *("http-json-api", "http-paginated", "http-offset-paginated", "http-range", "sse-stream", "webhook-push"),
    *("s3-presigned", "oauth2-bearer", "graphql", "csv-download", "ndjson-stream", "multipart-upload"),
    *("websocket-json", "xml-api", "webtorrent", "ipfs", "bittorrent-v2"),
)
OURS = ("nats-presigned", "bridge-http", "bridge-upload", "feed-events", "live-stream", "session")
HOST_API = {"fetch", "open_url", "connect", "send", "receive", "close", "unpack", "pack", "hmac_sha256", "emit", "now"}
INPUTS = {"ENDPOINT", "FORMAT", "METHOD", "PARAMETERS"}
TRANSFER = "8c2b6f0e-0000-4000-8000-000000000000"


def test_the_17_and_our_own_are_there() -> None:
    assert {f"builtin/{name}" for name in (*TOMCP, *OURS)} == set(builtin_protocols())
    assert len(TOMCP) == 17


@pytest.mark.parametrize("name", (*TOMCP, *OURS))
def test_each_is_complete(name: str) -> None:
    found = builtin_protocols()[f"builtin/{name}"]
    about = parse_description(json.loads(canonical(dict(found.fields))))
    assert about == found.description
    texts = about.tiers.named()
    assert tuple(texts) == TIERS
    assert texts["mid"].startswith(texts["high"])
    assert texts["full"].startswith(texts["mid"])
    assert about.summary
    assert about.constraints
    assert about.tags
    assert compose([about])["provides"] == {**about.assumes, **about.provides}


@pytest.mark.parametrize("name", [name for name in (*TOMCP, *OURS) if name not in ("nats-presigned", "session")])
def test_each_makes_a_level_2_descriptor(name: str) -> None:
    about = builtin_protocols()[f"builtin/{name}"].description
    endpoint = f"{about.schemes[0]}://api.example:8443/x"
    required = {key: "x" for key, each in about.parameters.items() if each.required}
    made = level2_descriptor(about, endpoint=endpoint, transfer_id=TRANSFER, parameters=required)
    assert made.description is not None
    assert [each.text for each in tiers_of(made.description)] == [*about.tiers.named().values()]
    wire = made.to_wire()
    assert wire["description"]["tier"] == "high"
    assert wire["description"]["tiers"].keys() == {"mid", "full"}
    assert wire["sandbox"]["allowed_hosts"] == ["api.example"]
    assert wire["sandbox"]["allowed_ports"] == [8443]
    assert all(wire[key] == each.default for key, each in about.parameters.items() if each.default is not None)


def test_endpoints_credentials_and_parameters_have_to_fit() -> None:
    about = builtin_protocols()["builtin/oauth2-bearer"].description
    pages = builtin_protocols()["builtin/http-paginated"].description
    hook = builtin_protocols()["builtin/webhook-push"].description
    secret = {"type": "bearer", "value": "canary-5f2"}
    made = level2_descriptor(
        about,
        endpoint="https://a.example/x",
        transfer_id=TRANSFER,
        auth=secret,
        tier="mid",
        hosts=["b.example:444"],
        checksum="sha256:" + "0" * 64,
    )
    assert made.auth is not None
    assert made.auth.value == "canary-5f2"
    assert "canary-5f2" not in repr(made)
    wire = made.to_wire()
    assert (wire["description"]["tier"], wire["description"]["tiers"].keys()) == ("mid", {"full"})
    assert wire["sandbox"]["allowed_hosts"] == ["a.example", "b.example"]
    assert wire["sandbox"]["allowed_ports"] == [443, 444]
    assert wire["description"]["protocols"] == ["builtin/oauth2-bearer@1.0.0"]
    for description, wrong in (
        (about, {"endpoint": "wss://a.example/x"}),
        (about, {"endpoint": "https://user:canary-5f2@a.example/x"}),
        (about, {"endpoint": "https://a.example:x/"}),
        (about, {"auth": {"type": "query", "value": "canary-5f2"}}),
        (pages, {"parameters": {"page_siez": 1}}),
        (hook, {"parameters": {"payload": 1}}),
        (about, {"hosts": ["a:b:c"]}),
    ):
        given: dict[str, Any] = {"endpoint": "https://a.example/x", "transfer_id": TRANSFER} | wrong
        with pytest.raises(RegistryError) as refused:
            level2_descriptor(description, **given)
        assert "canary-5f2" not in str(refused.value)


@pytest.mark.parametrize("name", (*TOMCP, *OURS))
def test_examples_use_only_what_the_sandbox_has(name: str) -> None:
    for example in builtin_protocols()[f"builtin/{name}"].description.examples:
        tree = ast.parse(example)
        called = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        builtins = {"len", "str", "int", "bytes", "enumerate", "isinstance", "OSError", "set", "chr"}
        assert called <= HOST_API | defined | builtins
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert imported <= {"json", "base64", "hashlib"}
        upper = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id.isupper()}
        assert upper <= INPUTS


Answer = dict[str, Any]


class Network:
    """The door of the sandbox: `fetch` answers requests, and connections are real."""

    def __init__(self, fetch: Callable[..., Answer]) -> None:
        self._fetch = fetch
        self._rest: list[bytes] = []
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def fetch(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> DoorResponse:
        named = {name.title(): value for name, value in headers.items()}
        answer = self._fetch(url, method=method, headers=named, body=body)
        return DoorResponse(answer["status"], answer["headers"], answer["body"])

    async def open(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, int, dict[str, str]]:
        answer = await self.fetch(method, url, headers, body)
        self._rest = [answer.body[place : place + 7] for place in range(0, len(answer.body), 7)]
        return 1, answer.status, dict(answer.headers)

    async def connect(self, host: str, port: int, tls: bool) -> int:
        self._streams = await asyncio.open_connection(host, port)
        return 1

    async def send(self, handle: int, data: bytes) -> None:
        assert self._streams is not None
        self._streams[1].write(data)

    async def receive(self, handle: int, at_most: int) -> bytes:
        if self._streams is not None:
            return await self._streams[0].read(at_most)
        return self._rest.pop(0) if self._rest else b""

    async def close(self, handle: int) -> None:
        if self._streams is not None:
            self._streams[1].close()

    def hmac_sha256(self, message: bytes) -> bytes:
        return hmac.digest(b"secret", message, "sha256")

    async def aclose(self) -> None:
        await self.close(1)


class Emitted:
    """The sink of the sandbox."""

    def __init__(self) -> None:
        self.body = b""

    async def write(self, piece: bytes) -> None:
        self.body += piece


async def emitted(name: str, fetch: Callable[..., Answer], endpoint: str, parameters: dict[str, Any]) -> bytes:
    about = builtin_protocols()[f"builtin/{name}"].description
    inputs: dict[str, Any] = {"ENDPOINT": endpoint, "FORMAT": about.format, "METHOD": about.method, "SIZE_HINT": None}
    inputs["PARAMETERS"] = {key: each.default for key, each in about.parameters.items()} | parameters
    sink = Emitted()
    verdict = await MontyRung().run(Job(source=about.examples[0], inputs=inputs), Network(fetch), sink)
    if verdict.status != "ok":
        raise OSError(f"{verdict.status}: {verdict.detail}")
    return sink.body


def run(name: str, fetch: Callable[..., Answer], **parameters: Any) -> bytes:
    """What the first example of a description emits in our sandbox, when `fetch` is the network."""
    return asyncio.run(emitted(name, fetch, "https://api.example/x?sort=id", parameters))


def answered(body: bytes, status: int = 200, **headers: str) -> Answer:
    return {"status": status, "body": body, "headers": {key.replace("_", "-"): value for key, value in headers.items()}}


def test_the_examples_of_streams_emit_their_items() -> None:
    events = b': hi\nid: 7\ndata: {"a":1}\n\ndata: {"b":\ndata: "\xc3\xa9"}\r\n\r\ndata: [DONE]\n\ndata: 3\n\n'
    opened = run("sse-stream", lambda url, **_: answered(events, content_type="text/event-stream; charset=utf-8"))
    assert [json.loads(line) for line in opened.splitlines()] == [{"a": 1}, {"b": "é"}]
    lines = b'{"a": 12345678901234567890}\r\n\n{"b": "\xc3\xa9"}'
    assert run("ndjson-stream", lambda url, **_: answered(lines)) == lines.replace(b"\r\n\n", b"\n") + b"\n"
    with pytest.raises(OSError, match="failed"):
        run("ndjson-stream", lambda url, **_: answered(lines[:-3]))
    asked: list[str] = []

    def live(url: str, headers: dict[str, str], **_: Any) -> Answer:
        asked.append(headers.get("Last-Event-Id", ""))
        number = len(asked)
        item = f'event: item\ndata: {{"id": {number}, "data": {{"n": {number}}}}}\n\n'
        return answered((item if number < 4 else "event: end\ndata: over\n\n").encode())

    assert [json.loads(line)["n"] for line in run("live-stream", live).splitlines()] == [1, 2, 3]
    assert asked == ["", "1", "2", "3"]


async def websocket(connection: Any) -> None:
    assert json.loads(await connection.recv()) == {"topic": "a"}
    for message in ({"n": 1}, {"text": "é" * 200}, {"text": "x" * 70_000}):
        await (await connection.ping())
        await connection.send(json.dumps(message))
    await connection.send(["[DO", "NE]"])  # in two frames


def test_the_example_of_websockets_speaks_with_a_real_server() -> None:
    async def work() -> bytes:
        async with websockets.asyncio.server.serve(websocket, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            parameters = {"subscribe": {"topic": "a"}}
            return await emitted("websocket-json", answered, f"ws://127.0.0.1:{port}/x", parameters)

    found = [json.loads(line) for line in asyncio.run(work()).splitlines()]
    assert found == [{"n": 1}, {"text": "é" * 200}, {"text": "x" * 70_000}]


@pytest.mark.parametrize("total", [True, False])
@pytest.mark.parametrize("rows", [0, 1, 9, 10, 25])
def test_the_example_of_offset_pagination_gets_all_rows(rows: int, total: bool) -> None:
    def fetch(url: str, **_: Any) -> Answer:
        query = dict(parse_qsl(urlsplit(url).query))
        assert query["sort"] == "id"
        begin, size = int(query["offset"]), min(int(query["limit"]), 7 if total else 10)
        page: dict[str, Any] = {"items": list(range(rows))[begin : begin + size]}
        return answered(json.dumps(page | ({"total": rows} if total else {})).encode())

    assert json.loads(run("http-offset-paginated", fetch, page_size=10)) == list(range(rows))


def test_the_example_of_cursor_pagination_gets_all_rows() -> None:
    pages: Iterator[dict[str, Any]] = iter(
        [{"data": [1, 2], "next_cursor": "a/+="}, {"data": [], "next_cursor": "b"}, {"data": [3]}]
    )
    asked: list[dict[str, str]] = []

    def fetch(url: str, **_: Any) -> Answer:
        asked.append(dict(parse_qsl(urlsplit(url).query)))
        return answered(json.dumps(next(pages)).encode())

    assert json.loads(run("http-paginated", fetch)) == [1, 2, 3]
    assert [each.get("cursor") for each in asked] == [None, "a/+=", "b"]
    with pytest.raises(OSError, match="repeats"):
        run("http-paginated", lambda url, **_: answered(b'{"data": [], "next_cursor": "a"}'))


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 1000])
def test_the_example_of_ranges_gets_every_byte(size: int) -> None:
    content = bytes(number % 251 for number in range(size))

    def fetch(url: str, headers: dict[str, str], **_: Any) -> Answer:
        first, last = map(int, headers["Range"].removeprefix("bytes=").split("-"))
        if first >= size:
            return answered(b"", 416, content_range=f"bytes */{size}")
        last = min(last, size - 1)
        assert first == 0 or headers["If-Range"] == '"tag"'
        return answered(content[first : last + 1], 206, content_range=f"bytes {first}-{last}/{size}", etag='"tag"')

    assert run("http-range", fetch, range_bytes=100) == content
    assert run("http-range", lambda url, **_: answered(content)) == content


def test_the_example_of_a_form_is_read_by_a_parser() -> None:
    from email.parser import BytesParser

    sent: dict[str, Any] = {}

    def fetch(url: str, **request: Any) -> Answer:
        sent.update(request)
        return answered(b"{}", 201)

    run("multipart-upload", fetch, content="AAH/DQo=", fields={"title": "Bericht"}, file_name="a.bin")
    head = f"Content-Type: {sent['headers']['Content-Type']}\r\n\r\n".encode()
    parts: Any = BytesParser().parsebytes(head + sent["body"]).get_payload()
    title, file = parts
    assert title.get_payload() == "Bericht"
    assert file.get_filename() == "a.bin"
    assert file.get_payload(decode=True) == b"\x00\x01\xff\r\n"


def test_examples_refuse_what_is_no_success() -> None:
    for name in ("http-json-api", "csv-download", "xml-api", "s3-presigned", "http-offset-paginated", "bridge-http"):
        for status in (204, 302, 401, 404, 500):
            if (name, status) in {("http-json-api", 204), ("xml-api", 204)}:
                continue
            with pytest.raises(OSError, match=str(status)):
                run(name, lambda url, status=status, **_: answered(b"no", status))
    with pytest.raises(OSError, match="page"):
        run("csv-download", lambda url, **_: answered(b"<html>", content_type="text/html"))
    with pytest.raises(OSError, match="safe"):
        run("xml-api", lambda url, **_: answered(b'<!DOCTYPE a [<!ENTITY b "c">]><a/>'))
    with pytest.raises(OSError, match="digest"):
        run("bridge-http", lambda url, **_: answered(b"x", repr_digest="sha-256=:AAAA:"))


def test_the_example_of_webhooks_signs_what_it_sends() -> None:
    sent: dict[str, Any] = {}

    def fetch(url: str, **request: Any) -> Answer:
        sent.update(request)
        return answered(b"taken")

    assert run("webhook-push", fetch, payload={"n": 1}, event_id="msg_1") == b"taken"
    headers = sent["headers"]
    signed = f"{headers['Webhook-Id']}.{headers['Webhook-Timestamp']}.".encode() + sent["body"]
    expected = base64.b64encode(hmac.digest(b"secret", signed, "sha256")).decode()
    assert (headers["Webhook-Id"], headers["Webhook-Signature"]) == ("msg_1", f"v1,{expected}")
    assert json.loads(sent["body"]) == {"n": 1}


def test_the_example_of_graphql_takes_no_partial_answer() -> None:
    def fetch(url: str, body: bytes, **_: Any) -> Answer:
        assert json.loads(body)["variables"] == {"a": "x"}
        return answered(b'{"data": {"item": {"id": 1}}}')

    assert json.loads(run("graphql", fetch, query="query($a: ID!) {item(id: $a) {id}}", variables={"a": "x"})) == {
        "item": {"id": 1}
    }
    for wrong in (b'{"errors": [{"message": "no such field"}], "data": {"item": null}}', b'{"data": null}'):
        with pytest.raises(OSError, match=r"no such field|no data"):
            run("graphql", lambda url, wrong=wrong, **_: answered(wrong), query="{a}")
