"""The ports of feeds: the log of notices, durables that deliver them, and entries changed by compare-and-set."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from broker_plane.plane.feeds.limits import Payer
from broker_plane.wire.feeds import Notice


class FeedLog(Protocol):
    """The notices of all feeds, in order."""

    async def last(self, feed: str) -> Notice | None:
        """The newest notice of `feed`; None where it has none."""

    async def commit(self, notice: Notice, after: int) -> int:
        """Append `notice` if the newest of its feed still has the sequence `after` (0: none); return its sequence.

        Raises:
            ConflictError: another was faster.
            BrokerUnavailableError: whether it stands is not known: ask `last`.
        """

    def read(self, feed: str, start: int = 1) -> AsyncGenerator[Notice, None]:
        """The notices of `feed` that are kept, from the sequence `start` on, oldest first. `feed` may end in `.>`."""

    async def drop(self, notice: Notice) -> None:
        """Remove a notice; one that is gone already is no error."""

    async def names(self) -> list[str]:
        """Every feed that has a notice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A notice as a durable delivers it. `times` counts deliveries, this one included; `ack` names it there.

    `id` is the same for who has no connection to the broker: what `Durables.taken` takes.
    """

    notice: Notice
    times: int
    ack: str
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Durable:
    """A subscriber's place: its name, its feed, and for how long it may be silent about a notice, in seconds.

    `under_way` is how many notices may wait for their next try; with 1 order is kept. Where nobody asks for
    `idle_seconds` the broker forgets it; None is never.
    """

    name: str
    feed: str
    ack_seconds: float = 30.0
    under_way: int = 1
    idle_seconds: float | None = None
    payer: Payer | None = None
    """On whose account it is, where it was not made by somebody with rights of his own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a durable stands: the last stream sequence that it took, and the one that it has in hand (0: none).

    `version` is the one of which it was last told what changed; 0 where that is not kept.
    """

    taken: int
    under_way: int = 0
    version: int = 0


class Session(Protocol):
    """One subscriber of a durable."""

    async def next(self, seconds: float) -> Delivered | None:
        """The next notice; None where none came within `seconds`.

        Raises:
            BrokerUnavailableError: the broker does not answer.
            DurableError: the durable is gone.
        """

    async def done(self, delivered: Delivered) -> None:
        """It was taken, and comes no more. Where this is lost, it comes again."""

    async def again(self, delivered: Delivered, seconds: float) -> None:
        """It was not taken; it comes again after `seconds`, and before any other. Also after the session's end."""

    async def still(self, delivered: Delivered) -> None:
        """It is still under way."""


class Durables(Protocol):
    """Durable positions. One notice of a durable is under way at a time, whoever and how many its subscribers are."""

    async def ensure(self, durable: Durable, start: Callable[[], Awaitable[int]]) -> None:
        """It exists; a new one begins at the stream sequence that `start` finds.

        Raises:
            DurableError: it is another feed's.
            DurableLimitError: its payer may have no more.
        """

    async def exists(self, name: str) -> bool:
        """Whether there is a durable of this name."""

    def session(self, durable: Durable) -> AbstractAsyncContextManager[Session]:
        """A subscriber, for the time of the block."""

    async def taken(self, durable: Durable, delivery: str) -> None:
        """The delivery of this id was taken, whoever subscribes at the moment; one that was before is no error.

        Raises:
            WireError: this is no id of a delivery.
            BrokerUnavailableError: whether it counts as taken is not known; say it again.
        """

    async def remove(self, name: str) -> None:
        """The durable is gone, and its position with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A notice that a durable gave up. `at` is in unix seconds, `id` counts up."""

    id: int
    at: float
    durable: str
    notice: Notice
    times: int
    error: str


class DeadLetters(Protocol):
    """What durables gave up."""

    async def add(self, letter: DeadLetter) -> None:
        """Keep it, once for each durable and notice. `id` is given by the log."""

    def read(self) -> AsyncGenerator[DeadLetter, None]:
        """Every letter, oldest first."""

    async def replay(self, letter: DeadLetter) -> None:
        """Give the notice to its durable once more, and drop the letter."""

    async def drop(self, letter: DeadLetter) -> None:
        """Forget it."""


class Entries(Protocol):
    """Small state by key, changed by compare-and-set only; as GrantStates."""

    async def load(self, key: str) -> tuple[bytes | None, int]:
        """The entry and its revision; `(None, 0)` where there is none."""

    async def save(self, key: str, entry: bytes, revision: int, ttl_seconds: int) -> int:
        """Write the entry if its revision is still `revision`; return the new one.

        Raises:
            ConflictError: it is not. After any other error the outcome is unknown: load again.
        """
