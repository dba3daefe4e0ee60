"""One body on its way into memory, and everybody who reads it meanwhile and afterwards."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from types import TracebackType

PIECE_BYTES = 1 << 18
"""What a connection takes at a time: a thousand slow readers then hold the same piece, and no copies of their own."""


class Reading:
    """The pieces of a body of `size` bytes, read from `source` by one task. Every reader holds it open with `with`.

    `gone` is called, once, where it came to nothing: the source failed, or the last reader left before its end.
    """

    def __init__(self, source: AsyncGenerator[bytes, None], size: int, gone: Callable[[], None]) -> None:
        self.readers = 0
        self.size = size
        self.complete = False
        self._gone = gone
        self._pieces: list[bytes] = []
        self._starts: list[int] = []
        self._length = 0
        self._failure: BaseException | None = None
        self._more = asyncio.Event()
        self._task = asyncio.create_task(self._read(source))

    def __enter__(self) -> Reading:
        self.readers += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.readers -= 1
        if not self.readers and not self.complete and self._failure is None:
            # At once, so that nobody joins a reading that ends.
            self._fail(asyncio.CancelledError())
            self._task.cancel()

    async def read(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` to `stop`, as they come.

        Raises:
            BrokerPlaneError: as the source did, for everybody who waits for what it did not give.
        """
        place = 0
        while start < stop:
            while self._length <= start and not self.complete:
                if self._failure is not None:
                    raise self._failure
                await self._more.wait()
            if self._length <= start:
                return
            place = bisect_right(self._starts, start, lo=place) - 1
            piece, begin = self._pieces[place], start - self._starts[place]
            end = min(len(piece), stop - self._starts[place])
            yield piece if (begin, end) == (0, len(piece)) else piece[begin:end]
            start = self._starts[place] + end

    async def _read(self, source: AsyncGenerator[bytes, None]) -> None:
        try:
            async with aclosing(source) as pieces:
                async for piece in pieces:
                    self._take(piece)
            self.complete = True
            self._wake()
        except Exception as error:  # noqa: BLE001  # it is raised where somebody reads
            self._fail(error)

    def _take(self, piece: bytes) -> None:
        for begin in range(0, len(piece), PIECE_BYTES):
            part = piece[begin : begin + PIECE_BYTES]
            self._starts.append(self._length)
            self._pieces.append(part)
            self._length += len(part)
        self._wake()

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        self._gone()
        self._wake()

    def _wake(self) -> None:
        """Wake who waits now; who waits next waits for the next piece."""
        self._more.set()
        self._more = asyncio.Event()
