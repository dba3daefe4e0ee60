"""HTTP/1.0 clients get answers by length or by the end of the connection, never in chunks (RFC 9112, section 6.1)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from broker_plane import Plane
from broker_plane.config import Settings
from broker_plane.web.protocol import Tracking
from broker_plane.web.server import HttpServer
from tests.bridge.wire import PATIENCE

pytestmark = pytest.mark.anyio
ROWS = [{"event": f"Flood {number}", "text": "x" * 90, "n": number} for number in range(20_000)]
KEEP_ALIVE = ["", "connection: keep-alive\r\n", "connection: close\r\n"]
ENDLESS = 500


@dataclass
class Site:
    plane: Plane
    paths: dict[str, str]
    client: httpx2.AsyncClient

    @property
    def port(self) -> int:
        return httpx2.URL(self.plane.bridge_url).port or 0


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def site(nats_server: object, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    from broker_plane.config import load_settings

    settings: Settings = load_settings(nats_url=nats_server.url, data_dir=tmp_path_factory.mktemp("http10"))  # type: ignore[attr-defined]
    client = httpx2.AsyncClient(verify=False, trust_env=False, timeout=PATIENCE)
    async with Plane.connect(settings) as plane, client, plane.streams.publish() as stream:
        large = await plane.publish(ROWS, uses="unlimited")
        small = await plane.publish(ROWS[:2], uses="unlimited")
        raw = await plane.publish(b"raw" * 600_000, uses="unlimited")
        await plane.publish(ROWS[:2], feed="http.ten", key="n")
        await stream.send({"n": 7})
        urls = {
            "large": large.resource_url,
            "small": small.resource_url,
            "raw": raw.resource_url,
            "feed": (await plane.feeds.grant("http.ten")).resource_url,
            "stream": stream.resource_url,
            "upload": (await plane.uploads.grant(ttl=60, uses="unlimited")).upload_url,
        }
        yield Site(plane, {name: url.removeprefix(plane.bridge_url) for name, url in urls.items()}, client)


async def asked(port: int, head: str, content: bytes = b"", most: int = -1) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body as a client of 1.0 reads them: by the length, or to the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(PATIENCE):
            writer.write(f"{head}\r\n".encode() + content)
            raw = await reader.readuntil(b"\r\n\r\n")
            status, *lines = raw.decode().split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
            }
            assert "transfer-encoding" not in headers
            assert headers["connection"] == "close"
            if head.startswith("HEAD"):
                body = await reader.read()
            elif "content-length" in headers:
                body = await reader.readexactly(int(headers["content-length"]))
                assert await reader.read() == b"", "nothing follows"
            else:
                body = await reader.read(most)
            return int(status.split()[1]), headers, body
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@pytest.mark.parametrize("keep_alive", KEEP_ALIVE)
@pytest.mark.parametrize(
    ("method", "path", "fields", "content"),
    [
        ("GET", "{large}", "accept: application/json\r\n", ""),
        ("GET", "{large}", "accept: application/x-ndjson\r\n", ""),
        ("GET", "{large}", "accept: text/csv\r\n", ""),
        ("GET", "{large}", "accept: application/msgpack\r\n", ""),
        ("GET", "{large}?columns=event", "", ""),
        ("GET", "{large}", "accept: application/vnd.broker-plane.rows\r\n", ""),
        ("GET", "{large}", "accept: application/json\r\naccept-encoding: gzip\r\n", ""),
        ("GET", "{small}", "", ""),
        ("GET", "{raw}", "accept: */*\r\n", ""),
        ("GET", "{raw}", "accept: */*\r\nrange: bytes=5-1000004\r\n", ""),
        ("HEAD", "{large}", "accept: application/json\r\n", ""),
        ("POST", "{large}", "content-type: application/json\r\n", "{}"),
        ("POST", "{small}/look", "content-type: application/json\r\n", '{"sample": 1}'),
        ("POST", "{small}/page", "content-type: application/json\r\n", '{"cursor": "", "limit": 10, "most": 0}'),
        ("GET", "{small}x", "", ""),
        ("GET", "{feed}/latest", "", ""),
        ("OPTIONS", "{upload}", "", ""),
        ("GET", "/healthz", "", ""),
        ("GET", "/openapi.yaml", "", ""),
        ("DELETE", "/metrics", "", ""),
    ],
)
async def test_every_answer_is_the_one_of_http_1_1(
    site: Site, keep_alive: str, method: str, path: str, fields: str, content: str
) -> None:
    path = path.format(**site.paths)
    length = f"content-length: {len(content)}\r\n" if content else ""
    head = f"{method} {path} HTTP/1.0\r\n{keep_alive}{fields}{length}"
    status, headers, body = await asked(site.port, head, content.encode())
    wanted = dict(line.split(": ", 1) for line in fields.split("\r\n") if line)
    wanted = {"accept-encoding": "identity", "accept": "*/*"} | wanted
    if "accept:" not in fields:
        head_accept = {name: value for name, value in wanted.items() if name != "accept"}
        wanted = head_accept | {"accept": "*/*"}
    async with site.client.stream(
        method, site.plane.bridge_url + path, headers=wanted, content=content.encode()
    ) as answer:
        same = b"".join([piece async for piece in answer.aiter_raw()])
        assert (status, headers.get("content-type")) == (answer.status_code, answer.headers.get("content-type"))
    if "gzip" not in fields:
        assert body == same
    else:
        assert body[:2] == same[:2] == b"\x1f\x8b"


@pytest.mark.parametrize("keep_alive", KEEP_ALIVE)
@pytest.mark.parametrize(("place", "said"), [("feed", b"event: notice"), ("stream", b"event: item")])
async def test_events_come_without_chunks(site: Site, keep_alive: str, place: str, said: bytes) -> None:
    path = site.paths[place] + ("?since=first" if place == "feed" else "")
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    async with asyncio.timeout(PATIENCE):
        writer.write(f"GET {path} HTTP/1.0\r\n{keep_alive}accept: text/event-stream\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding" not in head
        body = b""
        while said not in body:
            piece = await reader.read(ENDLESS)
            assert piece, head + body
            body += piece
    assert body.startswith(b"retry: ")
    writer.close()


async def test_uploads_are_taken_and_answered(site: Site) -> None:
    head = f"PUT {site.paths['upload']} HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 5\r\n"
    status, headers, body = await asked(site.port, head, b"hello")
    assert (status, len(body)) == (201, int(headers["content-length"]))


@pytest.mark.parametrize("pieces", [1, 40])
async def test_a_break_without_a_length_is_a_reset_and_the_end_is_none(pieces: int) -> None:
    """A reader that knows the end by the connection's end alone must not take half a body for a whole one."""

    async def breaking(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(pieces):
            await send({"type": "http.response.body", "body": b"x" * 50_000, "more_body": True})
        if scope["path"] == "/broken":
            raise RuntimeError("midway")
        await send({"type": "http.response.body", "body": b"end"})

    async with HttpServer(breaking, tracking=Tracking(), stop_seconds=1) as server:
        _, _, body = await asked(server.port, "GET /whole HTTP/1.0\r\n")
        assert body == b"x" * (50_000 * pieces) + b"end"
        with pytest.raises(ConnectionResetError):
            await asked(server.port, "GET /broken HTTP/1.0\r\n")
