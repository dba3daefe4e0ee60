"""How one answer reached its reader. ASGI calls everything *sent* while the reader took half of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any, TypeVar

T = TypeVar("T")

EXTENSION = "broker_plane.delivery"
"""The key in `scope["extensions"]` under which an application finds the `Delivery` of its request."""


class Outcome(Enum):
    """How a delivery ended."""

    COMPLETE = "complete"
    BROKEN = "broken"


class ReaderLeftError(Exception):
    """Whoever asked has ended the connection before there was an answer; nobody is told anything."""


class Handed:
    """Bytes of all answers on one connection that the server took so far."""

    def __init__(self) -> None:
        self.bytes = 0


class Delivery:
    """One answer on one connection. The application arms it, counts what it hands over, and waits for the end."""

    def __init__(self, connection: str, total: Handed | None = None, reset: Callable[[], None] = lambda: None) -> None:
        self.connection = connection
        """An id of the connection, the same for every request that is made on it."""
        self.endless = False
        """Set by an answer that has no last byte: a reader that ended its direction has left, and waits for nothing."""
        self.half_closed = False
        """The reader has ended its direction; it may wait for its answer, or be gone."""
        self.reset = reset
        """Ends the connection at once; what was written and is not taken yet is dropped."""
        self.decided: Outcome | None = None
        self.handed = 0
        self._total = total or Handed()
        self._share = 0.0
        self._kept_back = 0
        self._outcome: asyncio.Future[Outcome] | None = None
        self._waiting: asyncio.Task[Any] | None = None

    @property
    def armed(self) -> bool:
        """Whether somebody wants to know the outcome."""
        return self._outcome is not None

    @property
    def fraction(self) -> float:
        """The part of the body (0 to 1) that the reader's host has acknowledged, to the best of our knowledge."""
        if not self.handed:
            return 0.0
        return self._share * max(0.0, 1.0 - self._kept_back / self.handed)

    def arm(self) -> None:
        """Ask for the outcome; before the answer starts, so that no end is missed."""
        self._outcome = asyncio.get_running_loop().create_future()
        if self.decided is not None:
            self._outcome.set_result(self.decided)

    def hand(self, size: int, share: float) -> None:
        """Count `size` bytes that the server took, which with those before them are `share` (0 to 1) of the body."""
        if self.decided is not Outcome.BROKEN:  # a server takes and drops what comes after the end
            self.handed += size
            self._total.bytes += size
            self._share = share

    @property
    def waiting(self) -> bool:
        """Whether something long is under way that is for this reader alone."""
        return self._waiting is not None

    async def unless_left(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns; it is cancelled once nobody waits for its answer any more.

        A client that is killed ends its direction as one does that only has nothing more to say. Which of them it is
        shows when the answer is written, and that is too late here: so whoever ends it has left.

        Raises:
            ReaderLeftError: so it was.
        """
        if self.half_closed:
            self.reset()
        if self.half_closed or self.decided is not None:
            work.close()
            raise ReaderLeftError
        task = asyncio.ensure_future(work)
        self._waiting = task
        try:
            return await task
        except asyncio.CancelledError:
            if self.decided is None:
                raise
            raise ReaderLeftError from None
        finally:
            self._waiting = None
            task.cancel()
            del task  # it holds the error whose traceback holds this frame

    async def outcome(self) -> Outcome:
        """Wait until it is known whether the reader took everything."""
        if self._outcome is None:
            raise RuntimeError("arm() the delivery before the answer starts")
        return await asyncio.shield(self._outcome)

    def decide(self, outcome: Outcome, kept_back: int = 0) -> None:
        """For the server: the end, and how many bytes the reader never acknowledged. The first decision holds."""
        if self.decided is not None:
            return
        self.decided = outcome
        self._kept_back = kept_back
        if self._outcome is not None:
            self._outcome.set_result(outcome)
        if self._waiting is not None and outcome is Outcome.BROKEN:
            self._waiting.cancel()
