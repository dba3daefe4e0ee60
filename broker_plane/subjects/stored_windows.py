"""The chunks of a stored body as they arrive over NATS. The plane says whether two windows may be under way.

If so, the next window is requested while one arrives, and the one after that when the first of them has ended: at most
two windows are sent and not yet read. If not, each is requested at the end of the one before.

Chunks are identified by the sequences in the body info: replicas that answer at the same time may send one window
before the other, and a window that was requested twice arrives twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress

from broker_plane.broker.subscriptions import Subscription
from broker_plane.errors import (
    BodyLostError,
    BrokerPlaneError,
    BrokerUnavailableError,
    GrantUsedError,
    TransferInterruptedError,
)
from broker_plane.wire.presigned import PullAnswer

_ATTEMPTS = 5
_PAUSE_SECONDS = 0.1
_MAX_AHEAD, _MAX_AHEAD_BYTES = 256, 32 << 20
MAX_IGNORED = 10_000
"""Total weight of consecutive messages that are not part of the pull. A repeated window has 4 MiB: 600."""


RequestWindow = Callable[[int], Awaitable[PullAnswer]]
"""Requests the window after a sequence, with retries: a bridge or the broker may be restarting meanwhile."""


class StoredWindows:
    """The chunks of one pull."""

    def __init__(
        self, arriving: Subscription, answer: PullAnswer, request_window: RequestWindow, silence_seconds: float
    ) -> None:
        """`answer` is the one to the first window; `silence_seconds` is how long to wait for one chunk."""
        self._arriving = arriving
        self._answer = answer
        self._request_window = request_window
        self._silence_seconds = silence_seconds
        self._last = sum(answer.info.runs[-1]) - 1 if answer.info.runs else -1
        self._yielded = -1
        """The sequence of the last chunk that was yielded."""
        self._held: dict[int, bytes] = {}
        self._ignored = 0
        self._under_way = 1
        self._ahead: asyncio.Task[PullAnswer] | None = None
        self._attempts = 0

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Every chunk, in order.

        Raises:
            BodyLostError: one is not stored any more.
            TransferInterruptedError: they stopped coming.
            BrokerPlaneError: a further window was refused.
        """
        self._request_ahead(self._answer.until)
        try:
            for first, count in self._answer.info.runs:
                for sequence in range(first, first + count):
                    while sequence not in self._held:
                        await self._take()
                    self._yielded, self._attempts = sequence, 0
                    yield self._held.pop(sequence)
        finally:
            await self._cancel_ahead()

    async def _take(self) -> None:
        """Handle one more message, or its absence."""
        try:
            message = await self._arriving.next(self._silence_seconds)
        except BrokerUnavailableError:
            await self._request_again(TransferInterruptedError("The bytes stopped coming; pull again"))
            return
        headers = message.headers or {}
        if "Status" not in headers:
            sequence = number_in(headers, "Nats-Sequence")
            if self._yielded < sequence <= self._last:
                self._held[sequence] = message.data
            self._check_bounds(sequence, message.data)
        else:
            await self._window_ended()

    def _check_bounds(self, sequence: int, data: bytes) -> None:
        """Chunks that are held out of order are of two windows at most, and ignored messages must come to an end."""
        self._ignored = 0 if sequence in self._held else self._ignored + weight_of(data)
        few = len(self._held) <= _MAX_AHEAD
        if not few or sum(map(len, self._held.values())) > _MAX_AHEAD_BYTES or self._ignored > MAX_IGNORED:
            raise TransferInterruptedError("Other messages arrived than were requested; pull again")

    async def _window_ended(self) -> None:
        """If the next window is under way already, it is time for the one after that."""
        self._under_way -= 1
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            self._request_ahead((await ahead).until)
        elif self._under_way <= 0:
            # A replica that lags has sent less than is stored, or nothing. The plane checks before it says so.
            await asyncio.sleep(_PAUSE_SECONDS * self._attempts)
            await self._request_again(BodyLostError("A part of the stored body is lost; publish it again"))

    def _request_ahead(self, until: int) -> None:
        """Request the window after `until`, unless that was the last or the plane did not say it."""
        if 0 <= until < self._last:
            self._under_way += 1
            self._ahead = asyncio.ensure_future(self._request_window(until))

    async def _request_again(self, error: BrokerPlaneError) -> None:
        """Request what follows the last chunk that was yielded. Raises `error` after too many vain attempts."""
        self._attempts += 1
        if self._attempts >= _ATTEMPTS:
            raise error
        await self._cancel_ahead()
        self._under_way = 1
        try:
            answer = await self._request_window(self._yielded)
        except GrantUsedError as used:  # the missing bytes were paid for as often as the grant pays
            raise error from used
        self._request_ahead(answer.until)

    async def _cancel_ahead(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.cancel()
            with suppress(asyncio.CancelledError, BrokerPlaneError):
                await ahead


def weight_of(data: bytes) -> int:
    """What an ignored message counts: one, and one for each 8 KiB."""
    return 1 + (len(data) >> 13)


def number_in(headers: Mapping[str, str], name: str) -> int:
    """The whole number in a header; -1 if it has none."""
    text = headers.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else -1
