"""The ports of exchanges: what is stored of them, and a queue of work under leases."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from broker_plane.exchange.messages import ExchangeKey, Said

__all__ = ["Asked", "Claim", "ExchangeKey", "ExchangeStore", "Relay", "Run", "Said", "WorkQueue"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A stored request: `line` is the JSON-RPC message, times in unix seconds of the broker, `attempt` from 1."""

    key: ExchangeKey
    line: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    deadline: float = 0.0
    """Until when the caller waits."""
    attempt: int = 1
    at: float = 0.0
    """When it was stored."""
    expires: float = 0.0
    """When it is forgotten; infinite if its sender has set no end."""
    cancelled: bool = False
    """Whether its caller has cancelled it; then of `line`, only the id is that of the request."""


class Claim(Protocol):
    """Work that this process has under a lease. Without `extend` another process gets it when the lease ends."""

    subject: str
    payload: bytes
    headers: Mapping[str, str]
    attempt: int
    """The number of times that the work was claimed, from 1."""
    at: float
    """When the work was put, in unix seconds of the broker."""
    known_since: float
    """From when on the broker knows which work is finished; work from before may be delivered again."""

    async def extend(self) -> None:
        """Begin the lease anew. Raises BrokerUnavailableError."""

    async def done(self, *, confirmed: bool = True) -> None:
        """The work is finished: nobody gets it again. Raises BrokerUnavailableError.

        If that need not be `confirmed`, it is quicker, and in rare cases somebody gets it again.
        """

    async def again(self, seconds: float = 0.0) -> None:
        """Give the work back; somebody gets it after `seconds`. Without effect once the lease has ended.

        Raises:
            BrokerUnavailableError: somebody gets it when the lease ends.
        """


class WorkQueue(Protocol):
    """A durable queue of one kind of work, shared by all processes. Work may be delivered twice: see `Claim`."""

    async def put(self, subject: str, payload: bytes, headers: Mapping[str, str], ttl_seconds: int) -> bool:
        """Store work once for each subject. False: there is already work of that subject, finished or not.

        Raises:
            BrokerUnavailableError: it is unknown whether it is stored; put it again. StoreFullError. TooLargeError.
        """

    def claims(self, room: Callable[[], int]) -> AsyncGenerator[Claim, None]:
        """Claim work for ever, and never more at once than there is `room`, which counts what this has yielded.

        It waits while the broker is unavailable. If the broker forgets the queue, all work that is stored is
        delivered again, also what is finished.

        Raises:
            NotPermittedError, StorageError: the queue cannot be used.
        """


class ExchangeStore(Protocol):
    """The requests and messages of exchanges."""

    async def ask(self, key: ExchangeKey, line: bytes, headers: Mapping[str, str], ttl_seconds: int) -> bool:
        """Store a request. False: it is there already, put by this or another process.

        Raises:
            ConflictError: another request has that key. As `WorkQueue.put`.
        """

    async def find(self, key: ExchangeKey) -> Asked | None:
        """The request of that key, if it is stored. Raises BrokerUnavailableError."""

    def asked(self, server: str, carrier: str, room: Callable[[], int]) -> AsyncGenerator[tuple[Asked, Claim], None]:
        """Claim the requests to a server by one carrier, as `WorkQueue.claims`."""

    async def append(self, key: ExchangeKey, said: Said, ttl_seconds: int) -> None:
        """Append a message; its number must be the next one. The same process may append the same message twice.

        Raises:
            ConflictError: another process has appended in between, or the answer is there already.
            BrokerUnavailableError: it is unknown whether it is stored; append it again. StoreFullError.
        """

    async def messages(self, key: ExchangeKey, after: int = 0) -> list[Said]:
        """The messages with a number above `after`, in order. Raises BrokerUnavailableError."""

    async def room(self) -> int:
        """The bytes that there is room for in all, used or not, for the requests of all servers; 0 if that is unknown.

        Raises:
            BrokerUnavailableError.
        """

    async def is_finished(self, key: ExchangeKey) -> bool:
        """Whether the request of that key is known to be finished: nobody gets it again. It may be finished without
        this knowing it, as long as an older request is not. Raises as `messages`."""

    async def last(self, key: ExchangeKey) -> Said | None:
        """The message with the highest number, as the leader has it; its line may be left out. Raises as `messages`."""

    def leave(self, key: ExchangeKey) -> None:
        """This process appends nothing more for now, so that it need not remember where the exchange ends."""

    async def excuse(self, key: ExchangeKey, ttl_seconds: int) -> None:
        """Note that an attempt ended without any fault of the request. Raises BrokerUnavailableError."""

    async def excuses(self, key: ExchangeKey) -> int:
        """The number of excused attempts. Raises BrokerUnavailableError."""

    async def drop(self, key: ExchangeKey) -> None:
        """Remove the request, but not its messages. Raises BrokerUnavailableError."""

    async def forget(self, key: ExchangeKey) -> None:
        """Remove the request and its messages: the caller has the answer. Raises BrokerUnavailableError."""


Run = Callable[[Asked], AsyncGenerator[bytes, None]]
"""Carries out a request: yields the JSON-RPC messages about it, of which the answer is the last.

It is closed before the answer if the request is cancelled or its deadline passes. It raises UpstreamError if the server
behind it has ended; then the request is tried again, in this process or another one.
"""


HandOver = Callable[[Asked, Said], Awaitable[bool]]
"""Gives the answer to the caller before it is stored. True: the caller has it, and nobody else will ask for it, so it
is not stored. It never raises.
"""


TurnAway = Callable[[Asked], Awaitable[None]]
"""Tells the caller of a request that it has too many under way, and may make it again later. Raises
BrokerUnavailableError."""


class Relay(Protocol):
    """The quick way of a carrier to the caller of an exchange. The caller fetches the messages that this way loses."""

    async def said(self, asked: Asked, said: Said) -> None:
        """Pass on a message, which is stored."""

    async def alive(self, asked: Asked) -> None:
        """Tell the caller that its request still runs: called every 5 seconds."""
