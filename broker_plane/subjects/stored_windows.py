"""The chunks of a stored body as they come over NATS. The plane says whether two windows may be under way.

Where it does, the next is asked for while one arrives, and the one after that when the first of them has ended: what is
sent and not yet read is two windows at most. Where it does not, each is asked for at the end of the one before.

Chunks are taken by the sequences that the body info names: replicas that answer at the same time may send one window
before the other, and a window that was asked for twice comes twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress

from broker_plane.broker.subscriptions import Listening
from broker_plane.errors import (
    BodyLostError,
    BrokerPlaneError,
    BrokerUnavailableError,
    GrantUsedError,
    TransferInterruptedError,
)
from broker_plane.wire.presigned import PullAnswer

_TRIES = 5
_PAUSE_SECONDS = 0.1
MOST_AHEAD, MOST_AHEAD_BYTES = 256, 32 << 20
MOST_IGNORED = 10_000
"""Of messages one after the other that are none of the pull's, by weight. A window that comes twice has 4 MiB: 600."""


Ask = Callable[[int], Awaitable[PullAnswer]]
"""Asks for the window after a sequence, patiently: a bridge or the broker may be starting again meanwhile."""


class StoredWindows:
    """The chunks of one pull. `answer` is the one to its first window, `silence_seconds` what one chunk may take."""

    def __init__(self, listening: Listening, answer: PullAnswer, ask: Ask, silence_seconds: float) -> None:
        self._listening = listening
        self._answer = answer
        self._ask = ask
        self._silence_seconds = silence_seconds
        self._last = sum(answer.info.runs[-1]) - 1 if answer.info.runs else -1
        self._had = -1
        """The sequence of the last chunk that was handed on."""
        self._here: dict[int, bytes] = {}
        self._ignored = 0
        self._under_way = 1
        self._ahead: asyncio.Task[PullAnswer] | None = None
        self._tries = 0

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Every chunk, in order.

        Raises:
            BodyLostError: one is not there any more.
            TransferInterruptedError: they stopped coming.
            BrokerPlaneError: a further window was refused.
        """
        self._ask_ahead(self._answer.until)
        try:
            for first, count in self._answer.info.runs:
                for sequence in range(first, first + count):
                    while sequence not in self._here:
                        await self._take()
                    self._had, self._tries = sequence, 0
                    yield self._here.pop(sequence)
        finally:
            await self._ask_no_more()

    async def _take(self) -> None:
        """One more message, or what its absence calls for."""
        try:
            message = await self._listening.next(self._silence_seconds)
        except BrokerUnavailableError:
            await self._ask_on(TransferInterruptedError("The bytes stopped coming; pull again"))
            return
        headers = message.headers or {}
        if "Status" not in headers:
            sequence = number_in(headers, "Nats-Sequence")
            if self._had < sequence <= self._last:
                self._here[sequence] = message.data
            self._check_bounds(sequence, message.data)
        else:
            await self._ended()

    def _check_bounds(self, sequence: int, data: bytes) -> None:
        """What is kept out of order is of two windows at most, and what is not kept does not come without end."""
        self._ignored = 0 if sequence in self._here else self._ignored + weight_of(data)
        few = len(self._here) <= MOST_AHEAD
        if not few or sum(map(len, self._here.values())) > MOST_AHEAD_BYTES or self._ignored > MOST_IGNORED:
            raise TransferInterruptedError("Other messages came than were asked for; pull again")

    async def _ended(self) -> None:
        """A window is here. Where the next one is under way already, it is time for the one after that."""
        self._under_way -= 1
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            self._ask_ahead((await ahead).until)
        elif self._under_way <= 0:
            # A replica that lags has sent less than there is, or nothing. The plane looks again before it says so.
            await asyncio.sleep(_PAUSE_SECONDS * self._tries)
            await self._ask_on(BodyLostError("A part of the stored body is gone; publish it again"))

    def _ask_ahead(self, until: int) -> None:
        """Ask for the window after `until`, unless that was the last, or the plane did not say it."""
        if 0 <= until < self._last:
            self._under_way += 1
            self._ahead = asyncio.ensure_future(self._ask(until))

    async def _ask_on(self, error: BrokerPlaneError) -> None:
        """Ask for what follows the last chunk that was handed on. Raises `error` where it was in vain too often."""
        self._tries += 1
        if self._tries >= _TRIES:
            raise error
        await self._ask_no_more()
        self._under_way = 1
        try:
            answer = await self._ask(self._had)
        except GrantUsedError as used:  # what does not come was paid for as often as the grant pays
            raise error from used
        self._ask_ahead(answer.until)

    async def _ask_no_more(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.cancel()
            with suppress(asyncio.CancelledError, BrokerPlaneError):
                await ahead


def weight_of(data: bytes) -> int:
    """What an ignored message counts: one, and one for each 8 KiB."""
    return 1 + (len(data) >> 13)


def number_in(headers: Mapping[str, str], name: str) -> int:
    """The whole number of a header; -1 where it has none that is meant."""
    text = headers.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else -1
