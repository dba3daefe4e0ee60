"""What arrives on a connection, handed to the parser where it is read.

asyncio's `StreamReader` copies everything twice, and a task reads from it in the next turn of the event loop. nats-py
needs it for the first lines of a connection; then the methods that its transport calls are replaced.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

_PIECE_BYTES = 1 << 18


class QuickReader:
    """Passes what `reader` is fed to `take`, which says whether it could handle all of it. One task waits here."""

    def __init__(self, reader: asyncio.StreamReader, take: Callable[[bytes], bool]) -> None:
        self._take: Callable[[bytes], bool] = take
        self._queue: deque[bytes] = deque()
        self._is_busy = True
        """Whether the task is at work: what arrives then is queued."""
        self._is_over = False
        self._error: BaseException | None = None
        self._woken: asyncio.Future[None] | None = None
        self._keep_what_came(reader)
        reader.feed_data = self._arrived  # type: ignore[method-assign,assignment]
        reader.feed_eof = self._ended  # type: ignore[method-assign]
        reader.set_exception = self._failed  # type: ignore[method-assign,assignment]

    def close(self) -> None:
        """Drop what arrives from now on."""
        self._is_over, self._is_busy = True, False
        self._take = _drop
        self._queue.clear()

    async def next(self) -> bytes | None:
        """What arrived while the task was at work, or nothing if `take` has left something; None after the end.

        Raises:
            OSError: the connection broke.
            Exception: what `take` raised.
        """
        if self._queue:
            return self._queue.popleft()
        self._is_busy = False
        if not self._is_over:
            self._woken = asyncio.get_running_loop().create_future()
            await self._woken
        if self._error is not None:
            raise self._error
        if self._is_busy:
            return b""
        return None

    def _arrived(self, data: bytes) -> None:
        if self._is_busy:
            self._queue.append(bytes(data))
            return
        try:
            self._is_busy = not self._take(bytes(data))
        except Exception as error:  # noqa: BLE001  # the task raises it
            self._failed(error)
        if self._is_busy:
            self._wake()

    def _ended(self) -> None:
        self._is_over = True
        self._wake()

    def _failed(self, error: BaseException) -> None:
        self._error, self._is_over = error, True
        self._wake()

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def _keep_what_came(self, reader: asyncio.StreamReader) -> None:
        """Take what `reader` has, without waiting."""
        while True:
            step = reader.read(_PIECE_BYTES)
            try:
                step.send(None)
            except StopIteration as read:
                if not read.value:
                    self._is_over = True
                    return
                self._queue.append(read.value)
            else:  # it waits, so there is nothing
                step.close()
                return


def _drop(data: bytes) -> bool:
    return True
