"""A page on loopback, which mcp-server-fetch turns into Markdown."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def serving_pages() -> Iterator[str]:
    """Serve a handbook of 900 parts; yields its URL."""
    parts = "".join(f"<h2>Part {n}</h2><p>Text of part {n}, with <b>words</b>.</p>" for n in range(900))
    page = f"<!doctype html><title>Handbook</title><article><h1>Handbook</h1>{parts}</article>".encode()

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            there = self.path == "/handbook"
            self.send_response(200 if there else 404)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page if there else b"")

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/handbook"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
