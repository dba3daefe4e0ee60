"""Real servers on loopback, each of which has one body and speaks one protocol."""

from __future__ import annotations

import datetime
import gzip
import hmac
import ipaddress
import re
import ssl
import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import asyncssh
from backports import zstd
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

SECRET = "s3cret"
PIECE = 100_000


@cache
def gzip_bomb() -> bytes:
    return gzip.compress(bytes(100_000_000), 1)


class WebServer(ThreadingHTTPServer):
    """`body` at many paths; `asked` are the requests that came, `ranges` what they asked for, `put` what was sent.

    POST answers once `gate` is open.
    """

    daemon_threads = True

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = body
        self.asked: list[str] = []
        self.put: dict[str, bytes] = {}
        self.ranges: list[str] = []
        self.etag = '"1"'
        self.broken = False
        self.gate = threading.Event()
        self.gate.set()

    def handle_error(self, *_: Any) -> None:
        """A client that was refused something goes away in the middle."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WebServer

    def log_message(self, *_: Any) -> None:
        """Tests read no log."""

    def do_PUT(self) -> None:
        self.server.asked.append(self.path)
        raw = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/elsewhere":
            self._send(307, b"", {"location": "http://127.0.0.1:9/body"})
            return
        self.server.put[self.path] = raw
        self._send(201, b"")

    def do_POST(self) -> None:
        self.server.asked.append(self.path)
        raw = self.rfile.read(int(self.headers["content-length"]))
        self.server.gate.wait(30)
        answer = gzip_bomb() if self.path == "/bomb.gz" else gzip.compress(raw, mtime=0)
        self._send(*((500, b"") if self.server.broken else (200, answer)))

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = self.server.body
        match self.path.partition("?")[0]:
            case "/body" | "/weak":
                self._ranged(body, etag=self.server.etag if self.path == "/body" else "")
            case "/whole":
                self._send(200, body, {"etag": '"1"'})
            case "/gzip":
                self._send(200, gzip.compress(body), {"content-encoding": "gzip"})
            case "/raw.gz":
                self._ranged(gzip.compress(body, mtime=0))
            case "/zstd":
                self._send(200, zstd.compress(body), {"content-encoding": "zstd"})
            case "/cut.gz":
                self._send(200, gzip.compress(body)[:-20])
            case "/bomb.gz":
                self._send(200, gzip_bomb())
            case "/bomb.zst":
                self._send(200, zstd.compress(bytes(100_000_000)))
            case "/elsewhere":
                self._send(302, b"", {"location": "http://127.0.0.1:9/body"})
            case "/secret":
                self._send(*((200, body) if self._admitted() else (401, b"")))
            case "/events":
                pieces = [body[at : at + PIECE] for at in range(0, len(body), PIECE)]
                text = b"".join(b": beat\nevent: message\ndata: " + b64encode(piece) + b"\n\n" for piece in pieces)
                self._send(200, text + b"data: done\n\n", {"content-type": "text/event-stream"})
            case _:
                self._send(404, b"")

    def _admitted(self) -> bool:
        headers, path = self.headers, self.path
        signed = f"GET\n{path}\n{headers.get('x-timestamp')}".encode()
        signature = "sha256=" + hmac.digest(SECRET.encode(), signed, "sha256").hex()
        return (
            headers.get("authorization") == f"Bearer {SECRET}"
            or headers.get("x-key") == SECRET
            or path == f"/secret?a=b%2F&key={SECRET}"
            or hmac.compare_digest(headers.get("x-signature", ""), signature)
        )

    def _ranged(self, body: bytes, *, etag: str = '"1"') -> None:
        headers = {"etag": etag} if etag else {}
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        if found is None or self.headers.get("if-range", etag) != etag:
            self._send(200, body, headers)
        else:
            self.server.ranges.append(found[0])
            start = int(found[1])
            headers["content-range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            self._send(206, body[start:], headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:
            self.close_connection = True


@contextmanager
def web(body: bytes, context: ssl.SSLContext | None = None) -> Iterator[WebServer]:
    server = WebServer(body)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@asynccontextmanager
async def websocket(body: bytes, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a server that sends `body` in pieces to whoever has the bearer token, and closes."""

    async def answer(socket: Any) -> None:
        if socket.request.headers.get("authorization") != f"Bearer {SECRET}":
            await socket.close(1008)
            return
        try:
            for at in range(0, len(body), PIECE):
                await socket.send(body[at : at + PIECE])
        except ConnectionClosed:
            return

    async with serve(answer, "127.0.0.1", 0, ssl=context) as server:
        yield next(iter(server.sockets)).getsockname()[1]


@asynccontextmanager
async def sftp(root: Path) -> AsyncIterator[tuple[int, str]]:
    """(port, public host key) of a server that shows `root` to the user `reader`."""

    class Server(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:
            return True

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == ("reader", SECRET)

    key = asyncssh.generate_private_key("ssh-ed25519")
    listener = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Server,
        server_host_keys=[key],
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(root).encode()),
    )
    async with listener:
        yield listener.get_port(), key.export_public_key().decode()


def certificate(directory: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate of 127.0.0.1 that signs itself: its file, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    file = directory / "cert.pem"
    file.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    private = directory / "key.pem"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, private)
    return file, context
