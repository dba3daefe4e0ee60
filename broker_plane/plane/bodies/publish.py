"""Publishing: project, store, seal. Rows are stored while they come; nobody sees a body before its last byte is in."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from broker_plane.errors import TabularError
from broker_plane.plane.grants.grants import Grants
from broker_plane.plane.ports import BodyStore, Draft, Shape
from broker_plane.tabular import arrow
from broker_plane.tabular.abstract import AbstractBuilder, check_domains
from broker_plane.tabular.codec import FrameWriter
from broker_plane.tabular.frame import Frame
from broker_plane.tabular.rows import RowsEncoder, as_rows
from broker_plane.wire.body import BYTES_TYPE, ROWS_TYPE, BodyInfo, Table
from broker_plane.wire.bounds import LAST_SECOND
from broker_plane.wire.column_names import resolved
from broker_plane.wire.names import body_id

_FILE_PIECE_BYTES = 1 << 19

Progress = Callable[[int, int | None], Any]
"""Called with how much is done (rows or bytes) and the total, where it is known; may return an awaitable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How a body is to be published. `ttl` in seconds; `uses` of its grant, 0 unlimited; `abstract` names columns."""

    ttl: int
    uses: int
    abstract: Sequence[str] | None = ()
    abstract_limit: int | None = None
    name: str = ""
    media_type: str = ""
    collect: bool = False
    """Whether the body is freed after the last use of its last grant, before it expires."""
    columns: tuple[str, ...] = ()
    """Columns that rows have in any case, also where none has a value there, or there are no rows."""
    feed: str = ""
    """A body of this feed: it does not expire, and retention frees it. Its grant still ends after `ttl`."""
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """A published body and a grant for it. `abstract` are its first rows; with `truncated`, `summary` speaks of all."""

    body: BodyInfo
    grant: str
    abstract: list[dict[str, Any]] = field(default_factory=list)
    truncated: bool = False
    summary: dict[str, Any] = field(default_factory=dict)


class Publisher:
    """Publishes for one owner; time and randomness come in."""

    def __init__(
        self,
        store: BodyStore,
        grants: Grants,
        owner: str,
        *,
        now: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._grants = grants
        self._owner = owner
        self._now = now
        self._random = random_bytes

    async def publish(self, data: Any, order: Order) -> Published:
        """Store `data` and seal a grant for it.

        bytes and a Path are stored as they are; a table (polars, pyarrow, pandas) is rows, as is a list, an iterable or
        an async iterable of dicts or scalars.

        Raises:
            TabularError: rows that cannot travel; it names what is wrong. Nothing is kept.
            StoreFullError, TooLargeError: nothing is kept.
            BrokerUnavailableError: nobody has a grant for it. It is kept whole or not at all, and ends with its time to
            live.
        """
        if isinstance(data, (bytes, bytearray, memoryview)):
            return await self._opaque(_slices(data), order, total=len(data))
        if isinstance(data, Path):
            size = (await anyio.Path(data).stat()).st_size
            return await self._opaque(_file(data), order, total=size, name=order.name or data.name)
        return await self._rows(data, order)

    async def publish_pieces(self, pieces: AsyncIterator[bytes], order: Order) -> Published:
        """Store an opaque body that comes in pieces."""
        return await self._opaque(pieces, order, total=None)

    async def keep(self, rows: Sequence[Any], order: Order) -> BodyInfo:
        """Store rows for which nobody gets a grant of their own."""
        return (await self._store_rows(rows, order))[0]

    async def _rows(self, data: Any, order: Order) -> Published:
        body, abstract = await self._store_rows(data, order)
        grant = await self._mint(body, order)
        return Published(
            body, grant, abstract.rows, abstract.truncated, abstract.summary() if abstract.truncated else {}
        )

    async def _store_rows(self, data: Any, order: Order) -> tuple[BodyInfo, AbstractBuilder]:
        abstract = AbstractBuilder(order.abstract, order.abstract_limit)
        encoder = RowsEncoder()
        async with self._store.writer(self._draft("rows", ROWS_TYPE, order.name, order)) as writer:
            await writer.write(encoder.writer.begin(order.columns))
            async with aclosing(_encoded(data, encoder, order.abstract)) as frames:
                async for frame, raw in frames:
                    abstract.add(frame)
                    await writer.write(raw)
                    await tell(order.progress, abstract.total, _length(data))
            if abstract.total and order.abstract:
                check_domains(order.abstract, encoder.writer.table.columns)
            await writer.write(encoder.writer.end())
            return await writer.commit(_shape(encoder.writer)), abstract

    async def _opaque(
        self, pieces: AsyncIterator[bytes], order: Order, *, total: int | None, name: str = ""
    ) -> Published:
        draft = self._draft("bytes", order.media_type or BYTES_TYPE, name or order.name, order)
        done = 0
        async with self._store.writer(draft) as writer:
            async for piece in pieces:
                await writer.write(piece)
                done += len(piece)
                await tell(order.progress, done, total)
            body = await writer.commit(Shape())
        return Published(body, await self._mint(body, order))

    async def _mint(self, body: BodyInfo, order: Order) -> str:
        if body.collect:
            await self._grants.collecting.begin(body)
        return await self._grants.mint(body, uses=order.uses, ttl=order.ttl if order.feed else None)

    def _draft(self, kind: Any, media_type: str, name: str, order: Order) -> Draft:
        # The time to live counts from the first byte, so that chunks and meta end together.
        now = self._now()
        return Draft(
            id=body_id(self._random(16)),
            owner=self._owner,
            kind=kind,
            media_type=media_type,
            name=name,
            created=now,
            expires=LAST_SECOND if order.feed else ceil(now + order.ttl),
            collect=order.collect,
            feed=order.feed,
        )


async def _encoded(
    data: Any, encoder: RowsEncoder, shown: Sequence[str] | None
) -> AsyncGenerator[tuple[Frame, bytes], None]:
    """Each frame of `data` with its bytes, as the rows come; a table's has at least the columns `shown`."""
    if arrow.is_table(data):
        for columns in arrow.parts(arrow.as_table(data)):
            yield encoder.table(columns, None if shown is None else resolved(shown, columns))
    elif isinstance(data, (list, tuple)):
        start = 0
        while batch := list(data[start : start + encoder.rows_wanted]):
            yield encoder.frame(as_rows(batch, start))
            start += len(batch)
    elif isinstance(data, AsyncIterable):
        async with aclosing(_batches(data, encoder)) as batches:
            async for batch in batches:
                yield encoder.frame(as_rows(batch, encoder.rows))
    elif isinstance(data, Iterable) and not isinstance(data, (str, dict)):
        # A plain iterator may block (a cursor, a file), so it runs beside the event loop.
        source = iter(data)
        while encoded := await anyio.to_thread.run_sync(_next_frame, source, encoder):
            yield encoded
    else:
        raise TabularError(
            f"A body is bytes, a Path, a table, a list or an iterator of rows; this is a {type(data).__name__}"
        )


def _next_frame(source: Iterator[Any], encoder: RowsEncoder) -> tuple[Frame, bytes] | None:
    batch = list(islice(source, encoder.rows_wanted))
    return encoder.frame(as_rows(batch, encoder.rows)) if batch else None


async def _batches(data: AsyncIterable[Any], encoder: RowsEncoder) -> AsyncGenerator[list[Any], None]:
    batch: list[Any] = []
    async for item in data:
        batch.append(item)
        if len(batch) >= encoder.rows_wanted:
            yield batch
            batch = []
    if batch:
        yield batch


def _shape(writer: FrameWriter) -> Shape:
    digest = sha256(writer.table_bytes).hexdigest()
    table = Table(offset=writer.table_offset, size=len(writer.table_bytes), digest=digest)
    return Shape(rows=writer.table.rows, columns=tuple(writer.table.columns), table=table)


async def _slices(data: bytes | bytearray | memoryview) -> AsyncGenerator[bytes, None]:
    view = memoryview(data).cast("B")
    for start in range(0, len(view), _FILE_PIECE_BYTES):
        yield bytes(view[start : start + _FILE_PIECE_BYTES])


async def _file(path: Path) -> AsyncGenerator[bytes, None]:
    async with await anyio.open_file(path, "rb") as file:
        while piece := await file.read(_FILE_PIECE_BYTES):
            yield piece


def _length(data: Any) -> int | None:
    return len(data) if isinstance(data, (list, tuple)) or arrow.is_table(data) else None


async def tell(progress: Progress | None, done: int, total: int | None) -> None:
    """Call `progress`, and await what it returns, if anything."""
    if progress is not None:
        told = progress(done, total)
        if told is not None:
            await told
