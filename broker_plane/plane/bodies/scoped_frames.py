"""Reads the frames of stored rows bodies within a grant's scope. Large frames are decoded in threads."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import TypeVar

from broker_plane.errors import EncodingError
from broker_plane.plane.bodies.frames import (
    END_BYTES,
    byte_range,
    check_frame,
    check_table,
    consecutive,
    frames_with,
    table_place,
)
from broker_plane.plane.bodies.scope import ScopedBody
from broker_plane.plane.fairness.work import Account, Work
from broker_plane.plane.ports import BodyStore
from broker_plane.tabular.codec import FrameChoice, FrameReader, FrameTable, FrameWriter, Held, RawFrame, read_table
from broker_plane.tabular.frame import Frame
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.selector import WHOLE, Selector

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CutFrame:
    """One frame of a cut body: its number in the stored body, its rows, and its bytes in the same encoding."""

    number: int
    rows: int
    raw: bytes


class ScopedFrames:
    """The frames of bodies in `store`. Every method checks the selector before the first frame.

    All methods raise:
        SelectorError: the body has no rows, or the selector names something that the scope hides.
        DigestMismatchError: a frame is not the one that was stored.
        EncodingError: the frames are not a body, or contradict the frame table or the metadata.
    """

    def __init__(self, store: BodyStore, work: Work) -> None:
        self._store = store
        self._work = work

    async def check(self, body: ScopedBody, selector: Selector) -> None:
        """Raise SelectorError unless the scope shows everything that `selector` names."""
        if selector.large:
            await self._work.of(body.payer).do(len(selector.row_ids or ()), partial(body.check, selector))
        else:
            body.check(selector)

    async def decoded(self, body: ScopedBody, selector: Selector = WHOLE) -> AsyncGenerator[Frame, None]:
        """The selected rows and columns, frame by frame; no other column is decoded."""
        async with aclosing(self.numbered(body, selector)) as frames:
            async for _, frame in frames:
                yield frame

    def numbered(
        self, body: ScopedBody, selector: Selector = WHOLE, first: int = 0
    ) -> AsyncGenerator[tuple[int, Frame], None]:
        """As `decoded`, from frame `first` of the stored body, each with its number there."""
        return self.mapped(body, selector, _itself, first)

    async def mapped(
        self,
        body: ScopedBody,
        selector: Selector,
        make: Callable[[Frame], T],
        first: int = 0,
        account: Account | None = None,
    ) -> AsyncGenerator[tuple[int, T], None]:
        """The result of `make` for each decoded frame, with the frame's number. `make` may run in a thread."""
        choice, account = body.choice(selector), account or self._work.of(body.payer)
        async with aclosing(self._raw(body, selector, first, account)) as frames:
            async for number, frame in frames:
                yield number, await account.do_frame(frame.decode_cost(choice), partial(_make, frame, choice, make))

    async def held(
        self, body: ScopedBody, selector: Selector, make: Callable[[Held], T]
    ) -> AsyncGenerator[tuple[int, T], None]:
        """The number of rows and the result of `make` for each frame, with its columns as they were published.

        `make` may run in a thread.
        """
        choice, account = body.choice(selector), self._work.of(body.payer)
        async with aclosing(self._raw(body, selector, 0, account)) as frames:
            async for _, frame in frames:
                yield await account.do_frame(frame.decode_cost(choice), partial(_make_held, frame, choice, make))

    async def cut(
        self,
        body: ScopedBody,
        selector: Selector,
        first: int = 0,
        *,
        writer: FrameWriter | None = None,
        account: Account | None = None,
    ) -> AsyncGenerator[CutFrame, None]:
        """The selected rows and columns in the stored encoding, frame by frame from frame `first` on.

        The magic bytes and the frame table are left to `writer`, for callers that need a complete body.
        """
        writer = writer or FrameWriter()
        choice, account = body.choice(selector), account or self._work.of(body.payer)
        async with aclosing(self._raw(body, selector, first, account)) as frames:
            async for number, frame in frames:
                before = writer.table.rows
                raw = await account.do_frame(frame.cut_cost(choice), partial(frame.cut, choice, writer))
                yield CutFrame(number, writer.table.rows - before, raw)

    async def _raw(
        self, body: ScopedBody, selector: Selector, first: int, account: Account
    ) -> AsyncGenerator[tuple[int, RawFrame], None]:
        """The stored frames from `first` on that hold a selected row, each with its number."""
        await self.check(body, selector)
        table = await self._table(body.stored, account)
        first_rows = list(accumulate((entry.rows for entry in table.frames), initial=0))
        columns = set(table.columns)
        numbers = [number for number in frames_with(table, selector, body.visible) if number >= first]
        for run in consecutive(numbers):
            number = run.start
            async with aclosing(self._store.read(body.stored, *byte_range(body.stored, table, run))) as pieces:
                async for frame in _frames(pieces):
                    check_frame(table.frames[number] if number in run else None, frame, first_rows[number], columns)
                    yield number, frame
                    number += 1
            if number < run.stop:
                raise EncodingError("The body has fewer groups of rows than its table says")

    async def _table(self, body: BodyInfo, account: Account) -> FrameTable:
        place = table_place(body)
        raw = b"".join([piece async for piece in self._store.read(body, place.offset, place.offset + place.size)])
        read = partial(read_table, raw, place.digest, place.offset - END_BYTES)
        table = await account.do(len(raw) // 16, read)
        check_table(table, body)
        return table


async def _frames(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[RawFrame, None]:
    reader = FrameReader(from_start=False)
    async for piece in pieces:
        for frame in reader.feed(piece):
            yield frame


def _itself(frame: Frame) -> Frame:
    return frame


def _make(frame: RawFrame, choice: FrameChoice, make: Callable[[Frame], T]) -> T:
    return make(frame.decode(choice))


def _make_held(frame: RawFrame, choice: FrameChoice, make: Callable[[Held], T]) -> tuple[int, T]:
    held = frame.held(choice)
    return len(held), make(held)
