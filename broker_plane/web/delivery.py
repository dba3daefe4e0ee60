"""The delivery of one answer: what was sent, and whether its reader received it. ASGI itself cannot tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
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
    """The client closed the connection before there was an answer, so none is sent."""


class BytesSent:
    """Counts the bytes of all answers on one connection that the server has accepted so far."""

    def __init__(self) -> None:
        self.total = 0


class Delivery:
    """One answer on one connection. The application arms it, counts what it sends, and waits for the outcome."""

    def __init__(
        self, connection: str, total: BytesSent | None = None, reset: Callable[[], None] = lambda: None
    ) -> None:
        self.connection = connection
        """An id of the connection, the same for every request on it."""
        self.endless = False
        """Set for an answer without a last byte: a reader that closes its direction has left, and awaits nothing."""
        self.half_closed = False
        """The reader has closed its direction; it may still be waiting for its answer, or have left."""
        self.started = False
        """The head of the answer was sent, so an error can no longer become another answer."""
        self.reset = reset
        """Ends the connection at once; bytes that were not yet received are dropped."""
        self.decided: Outcome | None = None
        self.bytes_sent = 0
        self._total = total or BytesSent()
        self._share = 0.0
        self._unsent = 0
        self._dropping = False
        """The connection broke: the server accepts further bytes and drops them."""
        self._outcome: asyncio.Future[Outcome] | None = None
        self._waiting: asyncio.Task[Any] | None = None

    @property
    def armed(self) -> bool:
        """Whether the application wants to know the outcome."""
        return self._outcome is not None

    @property
    def fraction(self) -> float:
        """The part of the body (0 to 1) that has left this host, so that the reader may have it."""
        if not self.bytes_sent:
            return 0.0
        return self._share * max(0.0, 1.0 - self._unsent / self.bytes_sent)

    def arm(self) -> None:
        """Ask for the outcome. Call it before the answer starts, so that no end is missed."""
        self._outcome = asyncio.get_running_loop().create_future()
        if self.decided is not None:
            self._outcome.set_result(self.decided)

    def sent(self, size: int, share: float) -> None:
        """Count `size` bytes that the server accepted; with those before them they are `share` (0 to 1) of the body."""
        if not self._dropping:
            self.bytes_sent += size
            self._total.total += size
            self._share = share

    @property
    def waiting(self) -> bool:
        """Whether long work for this reader alone is in progress."""
        return self._waiting is not None

    async def unless_left(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns, and cancel it as soon as nobody waits for the answer any more.

        A client that was killed closes its direction just like one that has only sent its whole request. The difference
        shows when the answer is written, which is too late here; so a client that closes its direction counts as gone.

        Raises:
            ReaderLeftError: the client has left.
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
        """Wait until it is known whether the reader received everything."""
        if self._outcome is None:
            raise RuntimeError("arm() the delivery before the answer starts")
        return await asyncio.shield(self._outcome)

    def decide(self, outcome: Outcome, unsent: int = 0) -> None:
        """For the server: the outcome, and how many bytes never left this host. The first call counts."""
        self._dropping = self._dropping or outcome is Outcome.BROKEN
        self._decide(outcome, unsent)

    def report(self, outcome: Outcome) -> None:
        """For the application: the outcome, while the connection goes on and what is under way still arrives."""
        self._decide(outcome, 0)

    def _decide(self, outcome: Outcome, unsent: int) -> None:
        if self.decided is not None:
            return
        self.decided = outcome
        self._unsent = unsent
        if self._outcome is not None:
            self._outcome.set_result(outcome)
        if self._waiting is not None and outcome is Outcome.BROKEN:
            self._waiting.cancel()


def delivery_of(scope: Mapping[str, Any]) -> Delivery:
    """The delivery that `TrackingProtocol` put into the scope; other servers do not report how an answer ended."""
    delivery: Delivery = scope["extensions"][EXTENSION]
    return delivery
