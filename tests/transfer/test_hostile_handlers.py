"""ws, mqtt, sftp and fs endpoints that send without end, without form, or more than they say."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from broker_plane.client.guard import RequestTarget
from broker_plane.errors import BrokerPlaneError, TransferError, UntrustedHostError
from broker_plane.testing.processes import memory
from broker_plane.transfer.auth import check_auth
from broker_plane.transfer.fetch import Transfers
from broker_plane.wire.descriptor import Auth
from broker_plane.wire.protocols import BUILT_IN
from tests.transfer.conftest import describe

pytestmark = pytest.mark.anyio
EVERY = {scheme.name: scheme for protocol in BUILT_IN.values() for scheme in protocol.schemes}
MIB = 1 << 20
MOST_MORE = 96 * MIB
"""The server of each test is in the same process."""

PATIENCE = 30
Flood = Callable[[Any], Awaitable[None]]


async def refused(transfers: Transfers, protocol: str, endpoint: str, **fields: Any) -> None:
    before = memory()["VmHWM"]
    descriptor = describe(protocol, endpoint, **{"size_hint": None, "checksum": None} | fields)
    with pytest.raises(BrokerPlaneError):
        async with asyncio.timeout(PATIENCE):
            await transfers.fetch(descriptor)
    assert memory()["VmHWM"] - before < MOST_MORE


async def _messages(socket: ServerConnection, message: bytes | str) -> None:
    while True:
        await socket.send(message)


async def _fragments(socket: ServerConnection) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield bytes(MIB)

    await socket.send(pieces())


TEXTS = ("7", "{}", "x", "[]", '{"id": 1}', '{"id": [], "data": {}}', '{"id": true, "data": 1}', "[" * 5000)


def shown(names: Iterable[str], *always: str) -> list[Any]:
    """All of them with `full`, and some in every run."""
    return [pytest.param(name, marks=[] if name in always else [pytest.mark.full]) for name in names]


WEBSOCKETS: dict[str, Flood] = {
    "messages": lambda socket: _messages(socket, bytes(MIB)),
    "texts": lambda socket: _messages(socket, "x" * MIB),
    "long": lambda socket: _messages(socket, bytes(9 * MIB)),
    "fragments": _fragments,
    "empty": lambda socket: _messages(socket, b""),
    "empty-texts": lambda socket: _messages(socket, ""),
    "small": lambda socket: _messages(socket, bytes(60_000)),
}


@asynccontextmanager
async def websocket(flood: Flood) -> AsyncIterator[int]:
    async def answer(socket: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            await flood(socket)

    async with serve(answer, "127.0.0.1", 0) as server:
        yield next(iter(server.sockets)).getsockname()[1]


@pytest.mark.parametrize("name", shown(WEBSOCKETS, "messages", "long"))
async def test_a_websocket_without_end(transfers: Transfers, name: str) -> None:
    async with websocket(WEBSOCKETS[name]) as port:
        await refused(transfers, "ws", f"ws://127.0.0.1:{port}/stream")


@pytest.mark.parametrize("text", shown(TEXTS, "{}"))
async def test_a_live_stream_of_any_form(transfers: Transfers, text: str) -> None:
    async with websocket(lambda socket: _messages(socket, text)) as port:
        stream = {"end_signal": "end", "reconnect": False}
        descriptor = describe("ws", f"ws://127.0.0.1:{port}/stream", mode="stream", stream=stream, size_hint=None)
        with pytest.raises(TransferError):
            async with asyncio.timeout(PATIENCE):
                async for _ in transfers.follow(descriptor):
                    pass


CONNACK = b"\x20\x02\x00\x00"


def publish(payload: bytes) -> bytes:
    body = b"\x00\x01t" + payload
    size, length = len(body), b""
    while size or not length:
        length += bytes([size % 128 | (128 if size >= 128 else 0)])
        size //= 128
    return b"\x30" + length + body


MQTT: dict[str, bytes] = {
    "messages": publish(bytes(MIB)),
    "small": publish(bytes(1000)) * 1000,
    "empty": publish(b"") * 10_000,
    "long": b"\x30\xff\xff\xff\x7f" + bytes(MIB),
    "long-length": b"\x30\xff\xff\xff\xff\xff\xff",
    "garbage": os.urandom(1000) * 1000,
}


@pytest.mark.parametrize("name", shown(MQTT, "messages", "long", "garbage"))
async def test_a_topic_without_end(transfers: Transfers, name: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read(1000)
            writer.write(CONNACK)
            while True:
                writer.write(MQTT[name])
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await refused(transfers, "mqtt", f"mqtt://127.0.0.1:{port}/t", stream={"end_signal": "end"})


class _Endless:
    """A file that says `size` and has no end."""

    def __init__(self, size: int | None) -> None:
        self.size = size


@pytest.mark.parametrize("size", [None, 1000, 1 << 50])
async def test_a_file_of_another_host_without_end(transfers: Transfers, tmp_path: Path, size: int | None) -> None:
    class Files(asyncssh.SFTPServer):
        def open(self, path: bytes, pflags: int, attrs: Any) -> Any:
            return _Endless(size)

        def read(self, file_obj: Any, offset: int, size: int) -> bytes:
            return bytes(size)

        def fstat(self, file_obj: Any) -> Any:
            return asyncssh.SFTPAttrs(size=file_obj.size)

        def close(self, file_obj: Any) -> None:
            """There is nothing to close."""

    class Server(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:
            return False

    key = asyncssh.generate_private_key("ssh-ed25519")
    async with asyncssh.listen(
        "127.0.0.1", 0, server_factory=Server, server_host_keys=[key], sftp_factory=Files
    ) as server:
        public = key.export_public_key().decode().strip()
        await refused(transfers, "sftp", f"sftp://127.0.0.1:{server.get_port()}/x", host_key=public)


@pytest.mark.parametrize("kind", ["pipe", "device", "directory"])
async def test_what_is_no_file_has_no_end(transfers: Transfers, tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "device":
            try:
                os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero
            except OSError:
                pytest.skip("a device needs rights that this user has not")
    await refused(transfers, "fs", str(path))


@pytest.mark.parametrize("kind", ["bearer", "header", "query"])
@pytest.mark.parametrize("scheme", ["http", "ws", "mqtt"])
def test_a_credential_crosses_no_network_in_plain_text(scheme: str, kind: Any) -> None:
    auth = Auth(type=kind, value="secret")
    check_auth(auth, RequestTarget(EVERY[scheme], "127.0.0.1", 80, "127.0.0.1", "/"))
    check_auth(auth, RequestTarget(EVERY["https"], "93.184.216.34", 443, "a.example", "/"))
    check_auth(None, RequestTarget(EVERY[scheme], "10.0.0.1", 80, "a.example", "/"))
    with pytest.raises(UntrustedHostError):
        check_auth(auth, RequestTarget(EVERY[scheme], "10.0.0.1", 80, "a.example", "/"))
