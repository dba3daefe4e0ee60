"""The foreign protocol `x-ticker-events`: a stream of events over HTTP that looks like Server-Sent Events and is not.

Its events have names of their own, base64 over several lines, heartbeats in between and an end signal. Version 2 frames
the same events in another way.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .levels_rows import csv_of
from .levels_state import Api, State

PART_BYTES = 1_500
_PATH = "/ticker/7"
_LINE_CHARACTERS = 70
"""Not a multiple of four: a line alone is not base64."""
_BEAT_PARTS = 3
_FRAMING_2 = (
    "! framing 2: an event begins with `name=number`, each data line begins with `> `, and a line with a single dot "
    "ends the event; lines that begin with `!` or `~` are skipped; the last event is fin"
)


class EventsHandler(BaseHTTPRequestHandler):
    """Answers one request with the whole stream, and closes the connection."""

    server: EventsServer

    def do_GET(self) -> None:
        state = self.server.state
        if not hmac.compare_digest(self.headers.get("Authorization", "").encode(), f"Bearer {state.secret}".encode()):
            self.send_error(401)
        elif self.path != _PATH:
            self.send_error(404)
        else:
            self.send_response(200)
            self.send_header("Content-Type", "text/x-ticker")
            self.end_headers()
            with suppress(ConnectionError):  # code that dislikes a line goes away
                for line in lines(csv_of(state.rows), state.api):
                    self.wfile.write(line.encode() + b"\n")

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


class EventsServer(ThreadingHTTPServer):
    """Serves the readings as events at `/ticker/7`."""

    daemon_threads = True

    def __init__(self, port: int, state: State) -> None:
        self.state = state
        super().__init__(("127.0.0.1", port), EventsHandler)


def lines(data: bytes, api: Api) -> Iterator[str]:
    """The lines of the stream, without their ends."""
    parts = [data[start : start + PART_BYTES] for start in range(0, len(data), PART_BYTES)]
    if api == 2:
        yield _FRAMING_2
    yield from _event("open", len(parts), b"", api)
    for number, part in enumerate(parts, 1):
        if number % _BEAT_PARTS == 0:
            yield "~" if api == 2 else "*"
        yield from _event("part", number, part, api)
    yield from _event("fin", len(parts), b"", api)


def _event(name: str, number: int, data: bytes, api: Api) -> Iterator[str]:
    yield f"{name}={number}" if api == 2 else f"#{name} {number}"
    text = b64encode(data).decode()
    for start in range(0, len(text), _LINE_CHARACTERS):
        line = text[start : start + _LINE_CHARACTERS]
        yield f"> {line}" if api == 2 else f"|{line}"
    yield "." if api == 2 else ""
