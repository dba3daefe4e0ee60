"""The ports of feeds: the log of notices, the durables that deliver them, and dead letters.

The life of a delivery, as `Durables` and `FeedMessage` implement it:

| step | cause | effect | next |
|---|---|---|---|
| deliver | the subscriber requests a notice | pending; the timer of `ack_seconds` starts | handled |
| in progress | `in_progress`, sent automatically while a handler runs | the timer restarts | pending |
| ack | `ack`; the handler returns, or the loop advances | checkpoint saved, then acknowledged | next notice |
| nack | `nack(delay)`; the handler raises, or the loop is left | pending for `delay` seconds | redelivery |
| timeout | none of these within `ack_seconds`: the subscriber died | no longer pending | redelivery |
| redelivery | nack or timeout | as *deliver*, with the next `attempt`, before later notices | handled |
| dead letter | `RetrySchedule.max_attempts` attempts failed | letter stored, then acknowledged | next notice |

A dead letter that is replayed is delivered to its durable again, from attempt 1.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from broker_plane.plane.feeds.limits import DurablePayer
from broker_plane.wire.feeds import Notice


class FeedLog(Protocol):
    """The notices of all feeds, in order."""

    async def last(self, feed: str) -> Notice | None:
        """Return the newest notice of `feed`, or None if the feed has no version."""

    async def commit(self, notice: Notice, after: int) -> int:
        """Append `notice` if its feed's newest sequence is still `after` (0: no notice yet); return its own sequence.

        Raises:
            ConflictError: another publisher committed first.
            BrokerUnavailableError: the outcome is unknown; check `last`.
        """

    def read(self, feed: str, start: int = 1) -> AsyncGenerator[Notice, None]:
        """Yield the stored notices of `feed` from the sequence `start` on, oldest first. `feed` may end in `.>`."""

    async def drop(self, notice: Notice) -> None:
        """Delete a notice. Idempotent."""

    async def names(self) -> list[str]:
        """Return the names of all feeds that have a notice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveredNotice:
    """A notice as a durable delivers it."""

    notice: Notice
    attempt: int
    """Number of this delivery attempt, from 1."""

    ack_subject: str
    """Where it is acknowledged over NATS."""

    ack_id: str = ""
    """Names the delivery to subscribers without a connection to the broker: the argument of `Durables.ack`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Durable:
    """A named, stored subscription to one feed. Its position survives its subscribers."""

    name: str
    feed: str
    ack_seconds: float = 30.0
    """Seconds within which a delivered notice must be acknowledged or reported in progress; then it is redelivered."""

    max_ack_pending: int = 1
    """Maximum number of notices that are delivered and not acknowledged; 1 keeps the order."""

    idle_seconds: float | None = None
    """The broker deletes the durable after this many seconds without a request; None: never."""

    payer: DurablePayer | None = None
    """The account it counts against; None if its creator has full rights of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DurablePosition:
    """The position of a durable, in stream sequences (0: none)."""

    acked: int
    """Everything up to this sequence is acknowledged."""

    pending: int = 0
    """The notice that is delivered and not acknowledged."""

    checkpoint: int = 0
    """The version up to which its subscriber has applied changes; 0 if that is not recorded."""


class DurableCursor(Protocol):
    """Requests and acknowledges the notices of a durable, for one subscriber."""

    async def next(self, seconds: float) -> DeliveredNotice | None:
        """Return the next notice, or None if none arrived within `seconds`.

        Raises:
            BrokerUnavailableError: the broker does not answer.
            DurableError: the durable was deleted.
        """

    async def ack(self, delivered: DeliveredNotice) -> None:
        """Acknowledge the notice. If the acknowledgement is lost, the notice is redelivered."""

    async def nack(self, delivered: DeliveredNotice, delay: float) -> None:
        """Redeliver the notice after `delay` seconds, before any later one. Allowed after the cursor was closed."""

    async def in_progress(self, delivered: DeliveredNotice) -> None:
        """Restart the acknowledgement timer of the notice."""


class Durables(Protocol):
    """Durable subscriptions. At most `max_ack_pending` notices are pending, however many subscribers share one."""

    async def ensure(self, durable: Durable, start: Callable[[], Awaitable[int]]) -> None:
        """Create the durable unless it exists; a new one begins at the stream sequence that `start` returns.

        Raises:
            DurableError: the name is used by another feed.
            DurableLimitError: its payer already has the maximum number.
        """

    async def exists(self, name: str) -> bool:
        """Return whether a durable of this name exists."""

    def cursor(self, durable: Durable) -> AbstractAsyncContextManager[DurableCursor]:
        """Open a cursor for the time of the block."""

    async def ack(self, durable: Durable, ack_id: str) -> None:
        """Acknowledge a delivery by its id, whichever cursor received it. Idempotent.

        Raises:
            WireError: malformed id.
            BrokerUnavailableError: the outcome is unknown; acknowledge again.
        """

    async def remove(self, name: str) -> None:
        """Delete the durable and its position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A notice that no subscriber of a durable acknowledged. `at` is in unix seconds, `id` counts up."""

    id: int
    at: float
    durable: str
    notice: Notice
    attempts: int
    error: str
    """The error of the last attempt."""


class DeadLetters(Protocol):
    """Notices that were given up after their last attempt."""

    async def add(self, letter: DeadLetter) -> None:
        """Store the letter, once for each durable and notice. The log assigns `id`."""

    def read(self) -> AsyncGenerator[DeadLetter, None]:
        """Yield all letters, oldest first."""

    async def replay(self, letter: DeadLetter) -> None:
        """Deliver the notice to its durable again, then delete the letter."""

    async def drop(self, letter: DeadLetter) -> None:
        """Delete the letter. Idempotent."""
