"""The rows of stored bodies, for whoever may read them all: the plane itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Any

from broker_plane.errors import BodyLostError
from broker_plane.plane.bodies.pull import Room
from broker_plane.plane.fairness.shares import Payer
from broker_plane.plane.fairness.work import Account, Work, cost_of
from broker_plane.plane.ports import BodyStore
from broker_plane.tabular.codec import FrameReader
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.bounds import MAX_BODY_ROWS
from broker_plane.wire.selector import WHOLE

_MOST_MEMORY = 2 << 30
"""Of the rows of one version of a feed, estimated: a delta needs all of them at once."""


class Tables:
    """Reads bodies into memory; a return is a verified read."""

    def __init__(self, store: BodyStore, work: Work | None = None) -> None:
        self._store = store
        self._work = work or Work()

    def account(self, body: BodyInfo) -> Account:
        """For what is made of the rows of `body`."""
        return self._work.of(Payer(body.owner, body.feed))

    async def rows(self, body: BodyInfo) -> list[dict[str, Any]]:
        """Every row of `body`.

        Raises:
            BodyNotFoundError, BodyLostError, BrokerUnavailableError.
            TooLargeError: they would take more memory than one body may.
        """
        reader, account = FrameReader(), self.account(body)
        rows: list[dict[str, Any]] = []
        room = Room(MAX_BODY_ROWS, _MOST_MEMORY)
        async with aclosing(self._pieces(body)) as pieces:
            async for piece in pieces:
                for raw in reader.feed(piece):
                    frame = await account.do(cost_of(raw), partial(raw.decode, WHOLE, verify=False))
                    room.take(len(frame), frame.weight)
                    rows.extend(await account.do(len(frame) * len(frame.columns), frame.rows))
        return rows

    async def raw(self, body: BodyInfo) -> bytes:
        """The bytes of an opaque body. Raises as `rows`."""
        async with aclosing(self._pieces(body)) as pieces:
            return b"".join([piece async for piece in pieces])

    async def _pieces(self, body: BodyInfo) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(self._store.read(body)) as pieces:
                async for piece in pieces:
                    yield piece
        except BodyLostError:
            # A notice names its chunks, so nobody asked before whether the body is still there.
            await self._store.info(body.owner, body.id)
            raise
