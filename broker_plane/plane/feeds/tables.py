"""Reads whole stored bodies into memory, for the plane itself: no grant, no scope."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Any

from broker_plane.errors import BodyLostError
from broker_plane.plane.bodies.pull import PullLimits
from broker_plane.plane.fairness.shares import Payer
from broker_plane.plane.fairness.work import Account, Work
from broker_plane.plane.ports import BodyStore
from broker_plane.tabular.codec import FrameReader
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.bounds import MAX_BODY_ROWS
from broker_plane.wire.selector import WHOLE

_MAX_MEMORY = 2 << 30
"""Maximum estimated bytes of the rows of one version: computing a delta needs all of them in memory."""


class Tables:
    """Reads bodies into memory; every returned body was verified against its digest."""

    def __init__(self, store: BodyStore, work: Work | None = None) -> None:
        self._store = store
        self._work = work or Work()

    def account(self, body: BodyInfo) -> Account:
        """Return the account that computations on the rows of `body` are charged to."""
        return self._work.of(Payer(body.owner, body.feed))

    async def rows(self, body: BodyInfo) -> list[dict[str, Any]]:
        """Return all rows of `body`.

        Raises:
            BodyNotFoundError, BodyLostError, BrokerUnavailableError.
            TooLargeError: the rows need more memory than one body may use.
        """
        reader, account = FrameReader(), self.account(body)
        rows: list[dict[str, Any]] = []
        room = PullLimits(MAX_BODY_ROWS, _MAX_MEMORY)
        async with aclosing(self._pieces(body)) as pieces:
            async for piece in pieces:
                for raw in reader.feed(piece):
                    frame = await account.do(raw.decode_cost(WHOLE), partial(raw.decode, WHOLE, verify=False))
                    room.take(len(frame), frame.weight)
                    rows.extend(await account.do(len(frame) * len(frame.columns), frame.rows))
        return rows

    async def raw(self, body: BodyInfo) -> bytes:
        """Return the bytes of an opaque body. Raises as `rows`."""
        async with aclosing(self._pieces(body)) as pieces:
            return b"".join([piece async for piece in pieces])

    async def _pieces(self, body: BodyInfo) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(self._store.read(body)) as pieces:
                async for piece in pieces:
                    yield piece
        except BodyLostError:
            # A notice names the chunks itself, so the body's metadata was not read yet: it may have been deleted.
            await self._store.info(body.owner, body.id)
            raise
