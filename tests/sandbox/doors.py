"""The other side of generated code in these tests: a door to a few pages and connections, and sinks."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from collections.abc import Mapping

from broker_plane.sandbox.ports import DoorFailedError, DoorRefusedError, DoorResponse

MEGABYTE = os.urandom(1_000_000)
SECRET = b"a secret of the host"


class ListedDoor:
    """Answers for a few URLs; refuses every other one. A connection echoes what is sent to it."""

    def __init__(self, *, has_secret: bool = True) -> None:
        self.has_secret = has_secret
        self.calls: list[str] = []
        self.waiting = asyncio.Event()
        """Set when the code waits for a response that never comes."""
        self.open_handles: dict[int, bytearray] = {}
        self._last = 0

    async def fetch(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> DoorResponse:
        self.calls.append(f"{method} {url}")
        if url == "https://here/never":
            self.waiting.set()
            await asyncio.Event().wait()
        if url == "https://here/broken":
            raise DoorFailedError("the connection broke")
        if url == "https://here/megabyte":
            return DoorResponse(200, {"content-type": "application/octet-stream"}, MEGABYTE)
        if url == "https://here/moved":
            return DoorResponse(302, {"location": "https://elsewhere/"}, b"")
        if url == "https://here/echo":
            return DoorResponse(200, {"x-method": method, "x-asked": headers.get("X-Asked", "")}, body)
        raise DoorRefusedError(f"{url} is not on the list")

    async def open(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, int, dict[str, str]]:
        self.calls.append(f"open {method} {url}")
        if url != "https://here/events":
            raise DoorRefusedError(f"{url} is not on the list")
        return self._opened(b"data: 1\n\ndata: 2\n\n"), 200, {"content-type": "text/event-stream"}

    async def connect(self, host: str, port: int, tls: bool) -> int:
        self.calls.append(f"connect {host}:{port} {tls}")
        if (host, port) != ("here", 7):
            raise DoorRefusedError(f"{host}:{port} is not on the list")
        return self._opened(b"")

    async def send(self, handle: int, data: bytes) -> None:
        self.open_handles[handle] += data

    async def receive(self, handle: int, at_most: int) -> bytes:
        buffer = self.open_handles[handle]
        piece = bytes(buffer[:at_most])
        del buffer[:at_most]
        return piece

    async def close(self, handle: int) -> None:
        self.open_handles.pop(handle, None)

    def hmac_sha256(self, message: bytes) -> bytes:
        if not self.has_secret:
            raise DoorRefusedError("this endpoint has no secret for hmac")
        return hmac.new(SECRET, message, hashlib.sha256).digest()

    async def aclose(self) -> None:
        self.open_handles.clear()

    def _opened(self, content: bytes) -> int:
        self._last += 1
        self.open_handles[self._last] = bytearray(content)
        return self._last


class KeepingSink:
    """Keeps what was emitted."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    async def write(self, piece: bytes) -> None:
        self.pieces.append(piece)

    @property
    def content(self) -> bytes:
        return b"".join(self.pieces)


class YieldingSink(KeepingSink):
    """Lets everything else go on before it takes a piece, and notes how many calls the door had got by then."""

    def __init__(self, door: ListedDoor) -> None:
        super().__init__()
        self.calls_at_the_end_of_each_million: list[int] = []
        self._door = door
        self._taken = 0

    async def write(self, piece: bytes) -> None:
        for _ in range(100):
            await asyncio.sleep(0)
        await super().write(piece)
        self._taken += len(piece)
        if self._taken % 1_000_000 == 0:
            self.calls_at_the_end_of_each_million.append(len(self._door.calls))


class StuckSink(KeepingSink):
    """Takes the first piece, and never says so."""

    async def write(self, piece: bytes) -> None:
        await asyncio.Event().wait()


class SinkBrokeError(Exception):
    """The disk is full, for instance."""


class BrokenSink:
    """Takes nothing."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error or SinkBrokeError("no space left")

    async def write(self, piece: bytes) -> None:
        raise self._error
