"""The endpoint that attacks through the door may reach: a hostile HTTP server on loopback, and the real door to it."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address, IPv6Address
from itertools import count
from urllib.parse import parse_qs, urlsplit

from broker_plane.client.addresses import resolve
from broker_plane.levels.door import HostDoor
from broker_plane.levels.reach_list import reach_list
from broker_plane.sandbox.ports import Door, RunLimits
from tests.levels.doors import described

_NAMES = ("rebinding.example", "loopback.example", "other.example")
_NEVER_SECONDS = 60.0


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Doors break off responses that are too large."""


class Endpoint:
    """Serves until `close`. `contacts` gets what should not have arrived."""

    def __init__(self, contacts: list[str]) -> None:
        self._ended = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(contacts, self._ended))
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def door(self, limits: RunLimits, secret: bytes) -> Door:
        """The door of a descriptor with this endpoint, which also allows a few names and a link-local address."""
        allowed = ["127.0.0.1", "169.254.169.254", *_NAMES]  # a server may list what it likes
        found = described(
            self.url,
            auth={"type": "bearer", "value": secret.decode()},
            sandbox={"runtime": "python", "allowed_hosts": allowed, "allowed_ports": [self.port, 80]},
        )
        lookups = count()

        async def found_first(host: str, port: int) -> Sequence[IPv4Address | IPv6Address]:
            """Of the names: other.example is the endpoint, rebinding.example only the first time."""
            if host not in _NAMES:
                return await resolve(host, port)
            first = host == "other.example" or (host == "rebinding.example" and next(lookups) == 0)
            return [IPv4Address("127.0.0.1" if first else "127.0.0.2")]

        return HostDoor(found, limits, reach=reach_list(found), networks=["127.0.0.1/32"], resolver=found_first)


def _handler(contacts: list[str], ended: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            place = urlsplit(self.path)
            if self.headers.get("X-Injected") or place.path == "/injected":
                contacts.append("a header or a request was injected")
            with suppress(OSError):
                {"/redirect": self._redirect, "/endless": self._endless, "/never": self._never}.get(
                    place.path, self._respond
                )()

        def _respond(self) -> None:
            body = repr(self.headers.items()).encode()
            if self.path == "/inflating":
                body = gzip.compress(bytes(64 << 20)) * 16
            self.send_response(200)
            if self.path == "/inflating":
                self.send_header("Content-Encoding", "gzip")
            else:
                self.send_header("X-Echo", self.headers.get("Authorization", ""))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _redirect(self) -> None:
            self.send_response(302)
            self.send_header("Location", parse_qs(urlsplit(self.path).query)["to"][0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _endless(self) -> None:
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            while not ended.is_set():
                self.wfile.write(bytes(1 << 20))

        def _never(self) -> None:
            ended.wait(_NEVER_SECONDS)

        def log_message(self, *_: object) -> None:
            """Nothing is logged."""

    return Handler
