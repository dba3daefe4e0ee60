"""The credential of a descriptor in logs at `debug`, from endpoints that repeat all that they were sent."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import serve

from broker_plane.errors import TransferError
from broker_plane.transfer.fetch import Transfers
from tests.transfer.conftest import describe

CANARY = "canary/7f3a+91"
SPELLINGS = ("canary/7f3a", "canary%2F7f3a", "canary%2f7f3a")
BODY = b"a body"
FACTS = {"size_hint": len(BODY), "checksum": f"sha256:{hashlib.sha256(BODY).hexdigest()}"}
AUTH = [
    pytest.param({"type": "query", "value": CANARY, "query_param": "key"}, id="query"),
    pytest.param({"type": "header", "value": CANARY, "header_name": "X-Key"}, id="header"),
    pytest.param({"type": "bearer", "value": CANARY}, id="bearer"),
]
ONLY_SERVER = "websockets.server"

pytestmark = pytest.mark.anyio


class Repeating(BaseHTTPRequestHandler):
    """It repeats the request in the head of its response."""

    protocol_version = "HTTP/1.1"

    def _repeat(self) -> None:
        sent = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.arrived = f"{self.path} {self.headers}"  # type: ignore[attr-defined]
        self.send_response(200 if "fail" not in self.path else 500)
        self.send_header("x-path", self.path)
        for name in ("x-key", "authorization"):
            self.send_header(f"x-{name}", self.headers.get(name, ""))
        self.send_header("content-length", str(len(BODY) * (not sent)))
        self.end_headers()
        self.wfile.write(b"" if sent else BODY)

    do_GET = do_PUT = _repeat

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def repeating() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Repeating) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx2", "httpcore2", "websockets.client"):
        caplog.set_level(logging.DEBUG, name)
    return caplog


def logged(caplog: pytest.LogCaptureFixture) -> str:
    """All lines of this side, as a formatter prints them."""
    form = logging.Formatter()
    return "\n".join(form.format(each) for each in caplog.records if each.name != ONLY_SERVER)


@pytest.mark.parametrize("auth", AUTH)
async def test_http_logs_no_credential(
    transfers: Transfers, tmp_path: Path, lines: pytest.LogCaptureFixture, auth: dict[str, Any]
) -> None:
    with repeating() as server:
        url = f"http://127.0.0.1:{server.server_port}"
        assert await transfers.fetch(describe("http", f"{url}/a?b=c%20d", auth=auth, **FACTS)) == BODY
        arrived = server.arrived  # type: ignore[attr-defined]
        assert "/a?b=c%20d" in arrived
        assert any(text in arrived for text in SPELLINGS)
        source = tmp_path / "source"
        source.write_bytes(BODY)
        await transfers.push(describe("http", url, mode="push", auth=auth, **FACTS), source)
        with pytest.raises(TransferError):
            await transfers.fetch(describe("http", f"{url}/fail", auth=auth, **FACTS))
    said = logged(lines)
    assert "HTTP Request: GET" in said
    assert "receive_response_headers.complete" in said
    assert "x-path" in said.lower()
    assert not [text for text in SPELLINGS if text in said]


@pytest.mark.parametrize("auth", AUTH)
async def test_a_websocket_logs_no_credential(
    transfers: Transfers, lines: pytest.LogCaptureFixture, auth: dict[str, Any]
) -> None:
    arrived = []

    async def send(socket: Any) -> None:
        arrived.append(f"{socket.request.path} {socket.request.headers}")
        await socket.send(BODY)

    def repeat(_: Any, request: Any, response: Any) -> None:
        response.headers["x-path"] = request.path

    async with serve(send, "127.0.0.1", 0, process_response=repeat) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        assert await transfers.fetch(describe("ws", f"ws://127.0.0.1:{port}/a", auth=auth, **FACTS)) == BODY
    assert any(text in arrived[0] for text in SPELLINGS)
    said = logged(lines)
    assert "> GET /a" in said
    assert not [text for text in SPELLINGS if text in said]


@pytest.mark.parametrize("auth", AUTH)
async def test_other_logs_are_left_alone(
    transfers: Transfers, lines: pytest.LogCaptureFixture, auth: dict[str, Any]
) -> None:
    with repeating() as server:
        url = f"http://127.0.0.1:{server.server_port}"
        await transfers.fetch(describe("http", url, auth=auth, **FACTS))
    logging.getLogger("httpx2").warning("%s is said after the transfer", CANARY)
    assert f"{CANARY} is said" in logged(lines)
