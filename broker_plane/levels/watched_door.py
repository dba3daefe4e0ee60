"""A door that notes whether anything answered: an endpoint that is down says nothing about the code."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TypeVar

from broker_plane.sandbox.ports import Door, DoorFailedError, DoorResponse

T = TypeVar("T")


class WatchedDoor:
    """The Door port, passed on to `inner`."""

    def __init__(self, inner: Door) -> None:
        self._inner = inner
        self._answered = 0
        self._failed = 0

    @property
    def unreachable(self) -> bool:
        """Whether calls failed and no call succeeded."""
        return self._failed > 0 and self._answered == 0

    async def fetch(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> DoorResponse:
        return await self._watched(self._inner.fetch(method, url, headers, body))

    async def open(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, int, dict[str, str]]:
        return await self._watched(self._inner.open(method, url, headers, body))

    async def connect(self, host: str, port: int, tls: bool) -> int:
        return await self._watched(self._inner.connect(host, port, tls))

    async def send(self, handle: int, data: bytes) -> None:
        await self._inner.send(handle, data)

    async def receive(self, handle: int, at_most: int) -> bytes:
        return await self._inner.receive(handle, at_most)

    async def close(self, handle: int) -> None:
        await self._inner.close(handle)

    def hmac_sha256(self, message: bytes) -> bytes:
        return self._inner.hmac_sha256(message)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def _watched(self, call: Awaitable[T]) -> T:
        try:
            found = await call
        except DoorFailedError:
            self._failed += 1
            raise
        self._answered += 1
        return found
