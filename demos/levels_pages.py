"""The foreign protocol `x-signed-pages`: a JSON API with pages, where each request is signed.

The signature is HMAC-SHA256 over method, path with query, and time. Version 2 of the API pages by a cursor.
"""

from __future__ import annotations

import hmac
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import time
from urllib.parse import parse_qs, urlsplit

import orjson

from .levels_rows import made_readings
from .levels_state import State

PAGE_ROWS = 250
_SKEW_SECONDS = 300
_PATH = "/gauges/7/readings"
_RENAMED = (
    "The parameter page was replaced by cursor: send cursor=start for the first page, and then the member `next` of "
    "each answer until that is null. The member `pages` is gone"
)


class PagesHandler(BaseHTTPRequestHandler):
    """Answers one signed request with one page."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # header and body are two writes
    server: PagesServer

    def do_GET(self) -> None:
        state = self.server.state
        parts = urlsplit(self.path)
        if not self._is_signed(state.secret):
            self._answer(
                401, {"error": "X-Sign is not the HMAC-SHA256 of method, path and X-Time, or X-Time is too old"}
            )
        elif parts.path != _PATH:
            self._answer(404, {"error": f"There is only {_PATH}"})
        else:
            asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            self._answer(*(_by_cursor(state, asked) if state.api == 2 else _by_number(state, asked)))

    def _is_signed(self, secret: str) -> bool:
        at = self.headers.get("X-Time", "")
        expected = hmac.digest(secret.encode(), f"GET\n{self.path}\n{at}".encode(), "sha256").hex()
        fresh = at.isascii() and at.isdigit() and abs(time() - int(at)) <= _SKEW_SECONDS
        return fresh and hmac.compare_digest(self.headers.get("X-Sign", "").encode(), expected.encode())

    def _answer(self, status: int, value: object) -> None:
        body = orjson.dumps(value)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the query is part of what is signed."""


class PagesServer(ThreadingHTTPServer):
    """Serves the readings at `/gauges/7/readings`."""

    daemon_threads = True

    def __init__(self, port: int, state: State) -> None:
        self.state = state
        super().__init__(("127.0.0.1", port), PagesHandler)


def _by_number(state: State, asked: dict[str, str]) -> tuple[int, object]:
    """Version 1: `?page=1`."""
    pages = -(-state.rows // PAGE_ROWS)
    if not asked.get("page", "").isdecimal() or not 1 <= int(asked["page"]) <= pages:
        return 400, {"error": f"Give page, a number from 1 to {pages}"}
    page = int(asked["page"])
    return 200, {"page": page, "pages": pages, "rows": _rows(state, (page - 1) * PAGE_ROWS)}


def _by_cursor(state: State, asked: dict[str, str]) -> tuple[int, object]:
    """Version 2: `?cursor=start`."""
    cursor = "r0" if asked.get("cursor") == "start" else asked.get("cursor", "")
    if not cursor.startswith("r") or not cursor[1:].isdecimal():
        return 400, {"error": _RENAMED}
    at = int(cursor[1:])
    following = at + PAGE_ROWS
    return 200, {"rows": _rows(state, at), "next": f"r{following}" if following < state.rows else None}


def _rows(state: State, at: int) -> list[list[int]]:
    return [[*each] for each in made_readings(state.rows)[at : at + PAGE_ROWS]]
