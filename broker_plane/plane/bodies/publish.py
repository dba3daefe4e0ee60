"""Publishing: project, store, seal. Rows are stored as they come; a body is visible only once its last byte is
stored.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any

import anyio.to_thread

from broker_plane.errors import TabularError
from broker_plane.plane.grants.grants import Grants
from broker_plane.plane.ports import BodyStore, Draft, Shape, SourceFiles
from broker_plane.tabular import arrow
from broker_plane.tabular.abstract import AbstractBuilder, check_domains
from broker_plane.tabular.codec import FrameWriter
from broker_plane.tabular.foreign import is_array
from broker_plane.tabular.frame import Frame
from broker_plane.tabular.rows import RowsEncoder, as_rows
from broker_plane.tabular.sources import is_cursor, source_of
from broker_plane.wire.body import BYTES_TYPE, ROWS_TYPE, BodyInfo, TablePlace
from broker_plane.wire.bounds import LAST_SECOND
from broker_plane.wire.column_names import resolved
from broker_plane.wire.names import BodyId, body_id, table_id

_PIECE_BYTES = 1 << 19

Progress = Callable[[int, int | None], Any]
"""Called with the number of rows or bytes done, and the total if it is known; may return an awaitable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishOrder:
    """How to publish a body. `ttl` in seconds; `uses` of its grant, 0 for unlimited; `abstract` names columns."""

    ttl: int
    uses: int
    abstract: Sequence[str] | None = ()
    abstract_limit: int | None = None
    name: str = ""
    media_type: str = ""
    collect: bool = False
    """Whether the body is deleted after the last use of its last grant, before it expires."""
    columns: tuple[str, ...] = ()
    """Columns that the body has in any case, even if no row has a value there."""
    feed: str = ""
    """The feed that the body belongs to: it does not expire, and retention deletes it. Its grant still expires after
    `ttl`.
    """
    progress: Progress | None = None
    id: BodyId | None = None
    """None: a random one."""


@dataclass(frozen=True, slots=True)
class StoredBody:
    """A published body and a grant for it. `abstract` has its first rows; if `truncated`, `summary` describes all
    rows.
    """

    body: BodyInfo
    grant: str
    abstract: list[dict[str, Any]] = field(default_factory=list)
    truncated: bool = False
    summary: dict[str, Any] = field(default_factory=dict)


class Publisher:
    """Publishes for one owner. Time and randomness are parameters."""

    def __init__(
        self,
        store: BodyStore,
        grants: Grants,
        owner: str,
        *,
        files: SourceFiles,
        now: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._files = files
        self._store = store
        self._grants = grants
        self._owner = owner
        self._now = now
        self._random = random_bytes

    async def publish(self, data: Any, order: PublishOrder) -> StoredBody:
        """Store `data` and mint a grant for it.

        bytes and files (Path) are stored unchanged. Tables (polars, pyarrow, pandas, DuckDB), arrays, cursors, lists,
        iterables and async iterables of dicts, tuples or scalars are stored as rows.

        Raises:
            TabularError: rows that cannot be stored; it says what is wrong. Nothing is kept.
            StoreFullError, TooLargeError: nothing is kept.
            BrokerUnavailableError: nobody has a grant for it. It is stored whole or not at all, and expires.
        """
        data = source_of(data) if is_cursor(data) or is_array(data) else data
        if isinstance(data, (bytes, bytearray, memoryview)):
            return await self._opaque(_slices(data), order, total=len(data))
        if isinstance(data, Path):
            size = await self._files.size(data)
            return await self._opaque(self._files.read(data), order, total=size, name=order.name or data.name)
        return await self._rows(data, order)

    async def publish_text(self, text: bytes, rows: Sequence[Any], order: PublishOrder) -> StoredBody:
        """Store a text, and beside it the table that it contains: the columns of `order` and the values of `rows`.

        A pull returns the text. Readers and queries see the table (`Deliveries.find_table`), which expires no later.
        """
        found = body_id(self._random(16))
        await self.keep(rows, replace(order, id=table_id(found), collect=False))
        return await self._opaque(_slices(text), replace(order, id=found), total=len(text))

    async def publish_pieces(self, pieces: AsyncIterator[bytes], order: PublishOrder) -> StoredBody:
        """Store an opaque body that arrives in pieces."""
        return await self._opaque(pieces, order, total=None)

    async def keep(self, rows: Sequence[Any], order: PublishOrder) -> BodyInfo:
        """Store rows without a grant of their own."""
        return (await self._store_rows(rows, order))[0]

    async def _rows(self, data: Any, order: PublishOrder) -> StoredBody:
        body, abstract = await self._store_rows(data, order)
        grant = await self._mint(body, order)
        return StoredBody(
            body, grant, abstract.rows, abstract.truncated, abstract.summary() if abstract.truncated else {}
        )

    async def _store_rows(self, data: Any, order: PublishOrder) -> tuple[BodyInfo, AbstractBuilder]:
        abstract = AbstractBuilder(order.abstract, order.abstract_limit)
        encoder = RowsEncoder()
        async with self._store.writer(self._draft("rows", ROWS_TYPE, order.name, order)) as writer:
            await writer.write(encoder.writer.begin(order.columns))
            async with aclosing(_encoded(data, encoder, order.abstract)) as frames:
                async for frame, raw in frames:
                    abstract.add(frame)
                    await writer.write(raw)
                    await report_progress(order.progress, abstract.total, _length(data))
            if abstract.total and order.abstract:
                check_domains(order.abstract, encoder.writer.table.columns)
            await writer.write(encoder.writer.end())
            return await writer.commit(_shape(encoder.writer)), abstract

    async def _opaque(
        self, pieces: AsyncIterator[bytes], order: PublishOrder, *, total: int | None, name: str = ""
    ) -> StoredBody:
        draft = self._draft("bytes", order.media_type or BYTES_TYPE, name or order.name, order)
        done = 0
        async with self._store.writer(draft) as writer:
            async for piece in pieces:
                await writer.write(piece)
                done += len(piece)
                await report_progress(order.progress, done, total)
            body = await writer.commit(Shape())
        return StoredBody(body, await self._mint(body, order))

    async def _mint(self, body: BodyInfo, order: PublishOrder) -> str:
        if body.collect:
            await self._grants.collecting.begin(body)
        return await self._grants.minting.mint(body, uses=order.uses, ttl=order.ttl if order.feed else None)

    def _draft(self, kind: Any, media_type: str, name: str, order: PublishOrder) -> Draft:
        # The time to live counts from the first byte, so that chunks and meta expire together.
        now = self._now()
        return Draft(
            id=order.id or body_id(self._random(16)),
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
    """Each frame of `data` with its bytes, as rows come; of a table it has at least the columns `shown`."""
    if arrow.is_stream(data):
        parts = arrow.stream_parts(data)
        while encoded := await anyio.to_thread.run_sync(_next_part, parts, encoder, shown):
            yield encoded
    elif arrow.is_table(data):
        for columns in arrow.parts(await anyio.to_thread.run_sync(arrow.as_table, data)):
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
        # A plain iterator may block (a cursor, a file), so it runs in a thread.
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


def _next_part(
    parts: Iterator[dict[str, arrow.Array]], encoder: RowsEncoder, shown: Sequence[str] | None
) -> tuple[Frame, bytes] | None:
    columns = next(parts, None)
    if columns is None:
        return None
    return encoder.table(columns, None if shown is None else resolved(shown, columns))


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
    table = TablePlace(offset=writer.table_offset, size=len(writer.table_bytes), digest=digest)
    return Shape(rows=writer.table.rows, columns=tuple(writer.table.columns), table=table)


async def _slices(data: bytes | bytearray | memoryview) -> AsyncGenerator[bytes, None]:
    view = memoryview(data).cast("B")
    for start in range(0, len(view), _PIECE_BYTES):
        yield bytes(view[start : start + _PIECE_BYTES])


def _length(data: Any) -> int | None:
    if isinstance(data, (list, tuple)) or (arrow.is_table(data) and hasattr(data, "__len__")):
        return len(data)
    count = getattr(data, "num_rows", None)
    return count if isinstance(count, int) else None


async def report_progress(progress: Progress | None, done: int, total: int | None) -> None:
    """Call `progress`, and await its result if it is awaitable."""
    if progress is not None:
        reported = progress(done, total)
        if reported is not None:
            await reported
