"""One delivery over HTTP: claim, send, learn how it ended, and settle the lease by that (rulings.md 10)."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from backports import zstd
from starlette.types import Send

from broker_plane.bridge.delivery import Delivery, Outcome
from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.deliver import Deliveries
from broker_plane.plane.grants import Lease, Opened

BUFFERED_BYTES = 1 << 20
"""A generated view up to this is sent with its Content-Length."""

_COMPRESS_FROM_BYTES = 1024
_HTTP_PIECE_BYTES = 1 << 18


class Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


@dataclass(slots=True)
class Pending:
    """A counted delivery whose end is not known yet."""

    delivery: Delivery
    settled: asyncio.Event = field(default_factory=asyncio.Event)


class Sender:
    """Sends bodies to readers, and remembers which deliveries are not settled."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries
        self._pending: dict[str, list[Pending]] = {}
        self.bytes_out = 0

    async def deliver(
        self,
        send: Send,
        opened: Opened,
        delivery: Delivery,
        status: int,
        headers: Sequence[tuple[str, str]],
        pieces: AsyncGenerator[bytes, None],
        size: int | None,
    ) -> None:
        """Claim a use, send `pieces`, and settle it. Without a `size` a small answer is gathered, to have one."""
        lease = await self._deliveries.claim(opened, delivery.connection)
        if not lease.id:
            await self._send(send, delivery, status, headers, pieces, size)
            return
        delivery.arm()
        pending = Pending(delivery)
        self._pending.setdefault(opened.grant.id, []).append(pending)
        try:
            async with self._deliveries.kept(lease):
                sent = False
                try:
                    await self._send(send, delivery, status, headers, pieces, size)
                    sent = True
                finally:
                    await asyncio.shield(self._settle(lease, delivery, sent=sent))
        finally:
            pending.settled.set()
            self._forget(opened.grant.id, pending)

    async def confirm(self, grant_id: str, *, success: bool) -> int:
        """End the deliveries of a grant that are not settled, by their reader's own word; returns how many."""
        waiting = list(self._pending.get(grant_id, []))
        for pending in waiting:
            pending.delivery.decide(Outcome.COMPLETE if success else Outcome.BROKEN)
        for pending in waiting:
            await pending.settled.wait()
        return len(waiting)

    async def _send(
        self,
        send: Send,
        delivery: Delivery,
        status: int,
        headers: Sequence[tuple[str, str]],
        pieces: AsyncGenerator[bytes, None],
        size: int | None,
    ) -> None:
        async with aclosing(pieces):
            if size is None:
                headers, pieces, size = await _gathered(headers, pieces)
            length = [] if size is None else [("content-length", str(size))]
            await send(_start(status, [*headers, *length]))
            handed = 0
            async with aclosing(pieces):
                async for piece in pieces:
                    for begin in range(0, len(piece), _HTTP_PIECE_BYTES):
                        part = piece[begin : begin + _HTTP_PIECE_BYTES] if len(piece) > _HTTP_PIECE_BYTES else piece
                        if delivery.decided is Outcome.BROKEN:
                            return  # nobody reads this any more
                        handed += len(part)
                        self.bytes_out += len(part)
                        delivery.hand(len(part), handed / size if size else 0.5)
                        await send({"type": "http.response.body", "body": part, "more_body": True})
            delivery.hand(0, 1.0)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _settle(self, lease: Lease, delivery: Delivery, *, sent: bool) -> None:
        # What broke on our side is no delivery, whatever the connection says later.
        outcome = await delivery.outcome() if sent else Outcome.BROKEN
        with suppress(BrokerPlaneError):  # the broker is away: the lease ends by its time-out
            if outcome is Outcome.COMPLETE:
                await self._deliveries.finish(lease)
            else:
                await self._deliveries.release(lease, delivery.fraction)

    def _forget(self, grant_id: str, pending: Pending) -> None:
        left = [other for other in self._pending.get(grant_id, []) if other is not pending]
        if left:
            self._pending[grant_id] = left
        else:
            self._pending.pop(grant_id, None)


async def coded(pieces: AsyncGenerator[bytes, None], coding: str) -> AsyncGenerator[bytes, None]:
    """`pieces` in a content coding (RFC 9110, section 8.4)."""
    if coding == "identity":
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece
        return
    compressor = _compressor(coding)
    async with aclosing(pieces):
        async for piece in pieces:
            if packed := compressor.compress(piece):
                yield packed
    yield compressor.flush()


def _compressor(coding: str) -> Compressor:
    return zstd.ZstdCompressor(1) if coding == "zstd" else zlib.compressobj(1, wbits=31)


async def _gathered(
    headers: Sequence[tuple[str, str]], pieces: AsyncGenerator[bytes, None]
) -> tuple[Sequence[tuple[str, str]], AsyncGenerator[bytes, None], int | None]:
    """The pieces of a small answer as one, with its size; of a large one as they come, without."""
    held: list[bytes] = []
    size = 0
    async for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size > BUFFERED_BYTES:
            return headers, _resumed(held, pieces), None
    return headers, _resumed([b"".join(held)], None), size


async def _resumed(held: list[bytes], rest: AsyncGenerator[bytes, None] | None) -> AsyncGenerator[bytes, None]:
    for piece in held:
        yield piece
    if rest is not None:
        async for piece in rest:
            yield piece


def _start(status: int, headers: Sequence[tuple[str, str]]) -> dict[str, Any]:
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return {"type": "http.response.start", "status": status, "headers": raw}
