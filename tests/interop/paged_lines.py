"""A foreign server of lines in pages, whose URL holds the credential, and code for it as two models would write it."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from broker_plane.wire.descriptor import Descriptor, parse_descriptor

_PAGE_LINES = 40
SIGNATURE = "c0ffee11"
SECRET = "shared-secret-of-a-test"

GUIDE = """\
The endpoint is a URL with a query. GET it with the further parameter page: 1, 2, and so on. Each answer is one page of
lines in UTF-8, ending in a line feed; an empty answer follows the last page. The result is all pages in a row."""

SIGNED = """\
As before, but each request has the header X-Sign: the hexadecimal HMAC-SHA256 of the path with its query."""

IN_JAVASCRIPT = """\
import process from 'node:process'

(async () => {
  const pieces = []
  for (let page = 1; ; page++) {
    const answer = await fetch('%s' + '&page=' + page)
    if (!answer.ok) throw new Error('status ' + answer.status)
    const text = await answer.text()
    if (text === '') break
    pieces.push(text)
  }
  process.stdout.write(pieces.join(''))
})().catch((error) => {
  console.error(String(error))
  process.exit(1)
})
"""
"""The endpoint is written into it, as ToMCP's prompt asks for a script that needs no input."""

IN_PYTHON = """\
page = 1
while True:
    answer = fetch(ENDPOINT + "&page=" + str(page))
    if answer["status"] != 200:
        raise ValueError("status " + str(answer["status"]))
    if not answer["body"]:
        break
    emit(answer["body"])
    page += 1
"""
SIGNED_IN_PYTHON = """\
origin = "/".join(ENDPOINT.split("/", 3)[:3])
page = 1
while True:
    path = ENDPOINT[len(origin):] + "&page=" + str(page)
    answer = fetch(origin + path, headers={"X-Sign": hmac_sha256(path.encode()).hex()})
    if answer["status"] != 200:
        raise ValueError("status " + str(answer["status"]))
    if not answer["body"]:
        break
    emit(answer["body"])
    page += 1
"""


def lines_of(name: str) -> bytes:
    return "".join(f"{name} {number} ä水\n" for number in range(150)).encode()


class PagedLines(ThreadingHTTPServer):
    """Pages of `lines_of(name)` at /lines, and at /signed to requests that are signed."""

    daemon_threads = True

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = lines_of(name)

    def descriptor(self, path: str = "/lines", **fields: Any) -> Descriptor:
        """A Level 2 descriptor of the lines in our words; a field that is None is left out."""
        said = {
            "$schema": "mcp/transfer-descriptor/v1",
            "transfer_id": str(uuid4()),
            "mode": "fetch",
            "protocol": "acme-paged-lines",
            "endpoint": f"http://127.0.0.1:{self.server_port}{path}?sig={SIGNATURE}",
            "format": "text/plain",
            "size_hint": len(self.body),
            "checksum": f"sha256:{hashlib.sha256(self.body).hexdigest()}",
            "description": {
                "tier": "high",
                "text": GUIDE,
                "examples": ["GET …&page=1"],
                "constraints": ["Get all pages."],
                "tiers": {"mid": {"text": GUIDE}},
            },
            "sandbox": {
                "runtime": "node",
                "timeout_ms": 20_000,
                "allowed_hosts": ["127.0.0.1"],
                "allowed_ports": [self.server_port],
            },
        } | fields
        return parse_descriptor({name: value for name, value in said.items() if value is not None})


class _Handler(BaseHTTPRequestHandler):
    server: PagedLines

    def log_message(self, *_: Any) -> None:
        """Tests read no log."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        signed = hmac.digest(SECRET.encode(), self.path.encode(), "sha256").hex() == self.headers.get("x-sign")
        if asked.get("sig") != SIGNATURE or not (parts.path == "/lines" or signed):
            self._send(403, b"forbidden\n")
            return
        lines = self.server.body.splitlines(keepends=True)
        at = (int(asked["page"]) - 1) * _PAGE_LINES
        self._send(200, b"".join(lines[at : at + _PAGE_LINES]))

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def paged_lines(name: str = "line") -> Iterator[PagedLines]:
    server = PagedLines(name)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
