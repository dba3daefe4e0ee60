"""Bodies as tables of a query: exactly what their grants show, read as any other delivery reads it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from broker_plane.errors import ForbiddenError
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.bodies.scope import ScopedBody
from broker_plane.plane.fairness.admission import HOLDER
from broker_plane.plane.grants.grants import Opened
from broker_plane.query.decoded_frames import DecodedFrames
from broker_plane.tabular.arrow_types import pyarrow_module
from broker_plane.wire.selector import Selector

_BATCH_ROWS = 65_536
_MOST_DECODED_BYTES = 1 << 62


@dataclass(slots=True)
class BodyTable:
    """The ArrowSource port over one body and its grant. Its frames are cut on the account of the grant."""

    deliveries: Deliveries
    opened: Opened
    body: ScopedBody
    read: tuple[str, ...] = ()
    """The columns that a query has read."""
    bytes_out: int = field(default=0)
    """Bytes that an engine was given."""

    @property
    def columns(self) -> tuple[str, ...]:
        return self.body.info.columns

    @property
    def rows(self) -> int:
        return self.body.info.rows or 0

    @property
    def shown_bytes(self) -> int:
        """The size of what the grant shows. Of a part of a body it is estimated: by its share of rows and columns."""
        stored = self.body.stored
        share = (self.rows / max(1, stored.rows or 0)) * (len(self.columns) / max(1, len(stored.columns)))
        return max(1, int(stored.size * min(1.0, share)))

    async def frames(self, columns: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """Yield the visible rows of `columns`, as `ArrowSource.frames`.

        Raises:
            ForbiddenError: they have more bytes than the grant allows.
        """
        HOLDER.set(self.opened.grant.id)
        self.read = tuple(columns)
        most = self.opened.grant.scope.bytes
        selector = self.body.of(Selector(columns=tuple(columns)))
        async with aclosing(self.deliveries.frames.cut(self.body, selector)) as frames:
            async for frame in frames:
                self.bytes_out += len(frame.raw)
                if most is not None and self.bytes_out > most:
                    raise ForbiddenError(f"This query would read more than the {most} bytes that a grant allows")
                yield frame.raw

    async def arrow(self, columns: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """Yield the same as one Arrow IPC stream, decoded in threads."""
        decoded = DecodedFrames(columns, _MOST_DECODED_BYTES)
        account = self.deliveries.work.of(self.body.payer)
        async with aclosing(self.frames(columns)) as frames:
            async for raw in frames:
                await account.do(len(raw) // 16, lambda raw=raw: decoded.add(raw))  # type: ignore[misc]
        for piece in await account.do(decoded.size // 64, lambda: _stream_of(decoded)):
            yield piece


def _stream_of(decoded: DecodedFrames) -> list[bytes]:
    pa = pyarrow_module()
    table = decoded.table()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=_BATCH_ROWS)
    return [sink.getvalue().to_pybytes()]
