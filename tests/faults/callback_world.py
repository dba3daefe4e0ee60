"""A webhook front whose clients name harmful callbacks, in a network namespace.

`python -m tests.faults.callback_world DIRECTORY` prints one JSON object: for each attack the status of the front's
answer, the packets to each forbidden address, and how many POSTs each path of the one allowed receiver got. At the
end it connects to a forbidden address itself, to see that such packets are counted.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from broker_plane.testing.server import NatsServer, wait_for
from tests.bench.carrier_server import __file__ as SERVER
from tests.carriers import serve_arguments
from tests.faults.network_namespace import NameServer, Packets, prepare
from tests.ports import free_port

METADATA, PRIVATE, PUBLIC = "169.254.169.254", "10.0.0.7", "93.184.215.14"
FORBIDDEN = (METADATA, PRIVATE, PUBLIC)
NAMES = {
    "metadata.test": [[METADATA]],
    "both.test": [["127.0.0.1", METADATA]],
    "rebind.test": [["127.0.0.1"], [METADATA]],
}
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "add", "arguments": {"a": 1, "b": 2}}}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "attack", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Receiver(BaseHTTPRequestHandler):
    """Echoes challenges, except at /redirect; redirects messages at /later to where nothing may be sent."""

    posts: ClassVar[Counter[str]] = Counter()

    def log_message(self, *_: Any) -> None:
        """Nobody reads a log."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        challenge = body.get("challenge")
        self.posts[f"{self.path} {'challenge' if challenge else 'message'}"] += 1
        if self.path == "/redirect" or (self.path == "/later" and not challenge):
            self.send_response(307)
            self.send_header("location", f"http://{METADATA}/")
            answer = b""
        else:
            self.send_response(200)
            answer = json.dumps({"challenge": challenge}).encode()
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


def attacks(port: int) -> dict[str, str]:
    """Callbacks that the front must not contact, by what they try."""
    return {
        "link-local": f"http://{METADATA}/latest/meta-data",
        "link-local in IPv6": f"http://[::ffff:{METADATA}]/",
        "link-local as one number": "http://2852039166/",
        "link-local in octal": "http://0251.0376.0251.0376/",
        "a private address": f"http://{PRIVATE}:{port}/",
        "plain HTTP to a public address": f"http://{PUBLIC}/",
        "a name of a link-local address": "http://metadata.test/",
        "a name of two addresses": f"http://both.test:{port}/both",
        "a user before the host": f"http://127.0.0.1@{METADATA}/",
        "another scheme": f"gopher://{METADATA}/",
        "a redirect": f"http://127.0.0.1:{port}/redirect",
    }


class Front:
    """The front under attack, by its HTTP interface alone."""

    def __init__(self, url: str) -> None:
        self.url = url

    def opened(self, callback: str) -> tuple[int, dict[str, Any]]:
        """Ask with a new session, whose messages go to `callback`. What has a key is kept after it was accepted."""
        params = {**CALL["params"], "_meta": META | {"io.broker-plane/idempotencyKey": callback}}  # type: ignore[dict-item]
        return self.sent("POST", "", {**CALL, "params": params, "callbackUri": callback})

    def sent(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        """Status and content of the answer to one request."""
        headers = {"content-type": "application/json", "accept": "application/json"}
        raw = None if body is None else json.dumps(body).encode()
        request = Request(self.url + path, data=raw, headers=headers, method=method)  # noqa: S310  # our own front
        try:
            with urlopen(request, timeout=60) as response:  # noqa: S310
                return response.status, json.loads(response.read() or b"{}")
        except HTTPError as error:
            return error.code, {}

    def is_there(self) -> bool:
        with suppress(OSError):
            return bool(self.sent("GET", "")[0])
        return False

    def messages(self, session: str) -> list[Any]:
        """What is stored for a session, as a client fetches it."""
        found: list[Any] = self.sent("GET", f"/{session}/messages?after=0")[1].get("messages", [])
        return found


def main(directory: Path) -> None:
    prepare([f"{address}/32" for address in FORBIDDEN], directory)
    packets, _ = Packets(), NameServer(NAMES)
    nats = NatsServer(directory)
    nats.start()
    try:
        found = attacked(nats.url, directory, packets)
    finally:
        nats.stop()
    print(json.dumps(found), flush=True)


def attacked(nats_url: str, directory: Path, packets: Packets) -> dict[str, Any]:
    """What the attacks came to."""
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as receiver,
        served(nats_url, directory) as front,
    ):
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        port = receiver.server_port
        refused = {name: front.opened(url)[0] for name, url in attacks(port).items()}
        proven = {path: outcome(front, f"http://{host}:{port}/{path}") for host, path in PROVEN}
        seen = {address: packets.to[address] for address in FORBIDDEN}
        with suppress(OSError):
            socket.create_connection((METADATA, 80), 1)
        wait_for(lambda: packets.to[METADATA] > seen[METADATA], "the control to be counted")
        receiver.shutdown()
        return {"attacks": refused, "proven": proven, "packets": seen, "posts": Receiver.posts}


PROVEN = (("127.0.0.1", "proven"), ("rebind.test", "rebinds"), ("127.0.0.1", "later"))
"""Callbacks that pass the challenge; afterwards the second name leads elsewhere, and the third one redirects."""


def outcome(front: Front, callback: str) -> dict[str, Any]:
    """How a session with a proven callback ends: how many messages were sent to it, and how many can be fetched."""
    _, answer = front.opened(callback)
    stored = wait_for(lambda: front.messages(answer["sessionId"]), "the answer to be stored")
    path = callback.rpartition("/")[2]
    sent = wait_for(lambda: Receiver.posts[f"/{path} message"], f"a message to {callback}")
    return {"messages": sent, "stored": len(stored)}


@contextmanager
def served(nats_url: str, directory: Path) -> Iterator[Front]:
    """A front that may send to loopback."""
    port = free_port()
    ours = {"NATS_URL": nats_url, "DATA_DIR": str(directory), "WEBHOOK_NETWORKS": "127.0.0.0/8"}
    environment = os.environ | {f"BROKER_PLANE_{name}": value for name, value in ours.items()}
    command = [sys.executable, "-m", "broker_plane.cli.main", *serve_arguments("webhook", "attacked", port, SERVER)]
    with (directory / "front.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        front = Front(f"http://127.0.0.1:{port}/mcp")
        wait_for(front.is_there, "the front to listen", 60)
        yield front
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
