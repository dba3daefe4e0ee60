"""A connection to nats-server: requests with an answer, JetStream's API and acknowledgements, and subscriptions.

link.py handles breaks and reconnects; requests.py matches answers to requests. nats-py's own `publish_async` is not
used, because it never resolves on an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import orjson

from broker_plane.broker.client import NatsClient
from broker_plane.broker.clock import ServerClock
from broker_plane.broker.dropped_writes import DroppedWrites
from broker_plane.broker.errors import NO_ANSWER, UNAVAILABLE, fail, parsed, unavailable
from broker_plane.broker.link import Link
from broker_plane.broker.messages import Message
from broker_plane.broker.payloads import check_size
from broker_plane.broker.requests import Answer
from broker_plane.broker.subscriptions import Served, Subscription
from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError, NotPermittedError, StorageError
from broker_plane.plane.fairness.admission import READ_BYTES, ByteBudget
from broker_plane.plane.retry import retry_while_retryable
from broker_plane.plane.tasks import settled
from broker_plane.wire.plane_names import Names

T = TypeVar("T")
Headers = Mapping[str, str]

_JS_API = "$JS.API"
_ATTEMPT_SECONDS = 2.0
"""Time-out of one attempt in a cluster: a node that has just died never answers. An election takes longer."""

_READ_SECONDS = 1.0
_PATIENCE_SECONDS = 0.05
"""A write without an acknowledgement for this long is looked after."""

_LONGEST_WAIT_SECONDS = 0.25
"""Between two attempts. A stream without a leader says so at once, and an election can end at any moment."""


class Connection:
    """A connection that recovers by itself: calls wait a moment for that, then raise BrokerUnavailableError.

    If it breaks, pending requests fail at once, because their answers will not arrive any more.
    """

    def __init__(self, timeout: float, client: NatsClient | None = None) -> None:
        self.client = client or NatsClient()
        self.link = Link(timeout, self.client)
        self.timeout = timeout
        self.js_api = _JS_API
        """The prefix of JetStream's API: a different one if JetStream is in another domain."""
        self.names = Names()
        """The names of what the plane keeps on this server."""
        self.replicas = 1
        """Number of replicas of each stream that is created over this connection."""
        self.store_bytes = -1
        """Size of the server's store, if known; each stream gets a share of it."""
        self.clock = ServerClock()
        self.reads = ByteBudget(READ_BYTES)
        """The budget for stored data that was requested and has not arrived."""
        self.leaderless: dict[str, float] = {}
        """Streams that had no leader, and until when (monotonic) that is assumed."""
        self._looking: set[asyncio.Task[None]] = set()
        self._dropped = DroppedWrites(self.link.requests, self.request, self._is_replicated, timeout)

    @property
    def max_payload(self) -> int:
        return self.client.max_payload

    @property
    def clustered(self) -> bool:
        """Whether the server belongs to a cluster: other replicas than the leader may answer, and leaders change."""
        return self.client.clustered

    @property
    def attempt_seconds(self) -> float:
        """How long to wait for one answer before the request is repeated."""
        return min(self.timeout, _ATTEMPT_SECONDS) if self.clustered else self.timeout

    @property
    def read_seconds(self) -> float:
        """The same for a request that only reads: a stream without a leader does not answer it at all."""
        return min(self.timeout, _READ_SECONDS) if self.clustered else self.timeout

    @property
    def retry_seconds(self) -> float:
        """How long to retry an idempotent request, so that it outlasts an election; on a single server, not at all."""
        return 2 * self.timeout if self.clustered else 0.0

    @property
    def hosts(self) -> str:
        """The servers' addresses, for messages: nothing secret."""
        return self.link.hosts

    def inbox(self) -> str:
        return self.client.new_inbox()

    # Requests and their answers.

    async def send(self, subject: str, payload: bytes, headers: Headers | None = None) -> Answer:
        """Publish with a reply subject of its own; the future is the answer. Requests keep their order.

        Raises:
            TooLargeError: it exceeds what the server accepts. BrokerUnavailableError.
        """
        await self.link.connected()
        check_size(payload, headers, self.max_payload)
        if subject.startswith("$KV.") and self.js_api != _JS_API:
            subject = f"{self.js_api}.{subject}"  # a write to a key-value bucket does not reach another domain
        return await self.link.requests.send(subject, payload, headers)

    async def answer(self, future: Answer, seconds: float = 0) -> Message:
        """Wait for the answer to what was sent. Raises as `request` does."""
        if not await settled(future, seconds or self.timeout):
            self._give_up(future)
        return future.result()

    async def request(
        self, subject: str, payload: bytes = b"", headers: Headers | None = None, *, seconds: float = 0
    ) -> Message:
        """The answer to a request, within `seconds`; 0 is this connection's time-out.

        Raises:
            BrokerUnavailableError: no answer came in time; it is unknown whether the request was carried out.
            NotPermittedError: this user may not send that request.
        """
        answer = await self.send(subject, payload, headers)
        giving_up = asyncio.get_running_loop().call_later(seconds or self.timeout, self._give_up, answer)
        try:
            return await answer
        finally:
            giving_up.cancel()

    def _give_up(self, answer: Answer) -> None:
        if not answer.done():
            self.link.check_node()
            fail(answer, self.link.requests.unanswered(NO_ANSWER))

    async def retry(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """The result of `attempt`, which must be idempotent: in a cluster it is retried while a leader is elected."""
        if self.clustered:
            return await retry_while_retryable(
                attempt, self.retry_seconds, only=BrokerUnavailableError, longest_wait=_LONGEST_WAIT_SECONDS
            )
        return await attempt()

    # JetStream.

    async def api(self, subject: str, fields: Mapping[str, Any] | None = None, *, seconds: float = 0) -> dict[str, Any]:
        """The JSON answer of a JetStream API request; `{"error": …}` is raised."""
        payload = orjson.dumps(fields) if fields is not None else b""
        breaks, started = self.link.breaks, self.clock.started()
        try:
            answer = parsed(await self.request(f"{self.js_api}.{subject}", payload, seconds=seconds))
        except BrokerUnavailableError:
            if self.link.lifeline is None or breaks == self.link.breaks:
                raise
            # The broker ended meanwhile and is started again. Every request of this kind may be sent twice.
            answer = parsed(await self.request(f"{self.js_api}.{subject}", payload, seconds=seconds))
        self.clock.heard(answer.get("ts"), started)
        return answer

    async def retrying_api(self, subject: str, fields: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """As `api`, for an idempotent request: in a cluster it is retried while a leader is elected."""
        return await self.retry(lambda: self.api(subject, fields, seconds=self.read_seconds))

    async def acknowledged(self, future: Answer, seconds: float = 0) -> dict[str, Any]:
        """Wait for the acknowledgement of a stream: `{"stream", "seq"}`.

        Raises:
            BrokerUnavailableError: no acknowledgement came in time; the outcome is unknown.
            ConflictError, StoreFullError, StorageError: the stream refused.
        """
        if not self.clustered:  # what a dead leader did not answer was not dropped for lack of space, and is sent again
            await self._dropped.wait(future, seconds or self.timeout)
        return parsed(future.result() if future.done() else await self.answer(future, seconds))

    async def store(self, subject: str, payload: bytes, headers: Headers | None = None, *, seconds: float = 0) -> int:
        """Publish one message to a stream and return its sequence."""
        answer = await self.send(subject, payload, headers)
        # Most acknowledgements take a millisecond; what takes long is looked into, until then nothing is done for it.
        looking = asyncio.get_running_loop().call_later(_PATIENCE_SECONDS, self._look_into, answer, seconds)
        try:
            sequence: int = parsed(await answer)["seq"]
        finally:
            looking.cancel()
        return sequence

    def _look_into(self, answer: Answer, seconds: float) -> None:
        """See to it that a write is answered, or fails within `seconds`."""

        async def look() -> None:
            with suppress(BrokerPlaneError):  # `answer` has it, too
                await self.acknowledged(answer, max(0.01, (seconds or self.timeout) - _PATIENCE_SECONDS))

        looking = asyncio.create_task(look())
        self._looking.add(looking)
        looking.add_done_callback(self._looking.discard)

    async def _is_replicated(self, stream: str) -> bool:
        try:
            info = await self.api(f"STREAM.INFO.{stream}")
        except NotPermittedError:  # a resource server's user
            return False
        return int(info["config"]["num_replicas"]) > 1

    # Core NATS.

    async def publish(self, subject: str, payload: bytes, **options: Any) -> None:
        """Publish without an answer; `options` are those of nats-py. Raises as `send`."""
        await self.link.connected()
        check_size(payload, options.get("headers"), self.max_payload)
        try:
            await self.client.publish(subject, payload, **options)
        except UNAVAILABLE as error:
            raise unavailable(error) from error

    @asynccontextmanager
    async def subscribe(
        self, subject: str, arrived: Callable[[Message], None] | None = None, *, queued: bool = True
    ) -> AsyncIterator[Subscription]:
        """A subscription for the time of the block.

        `arrived` is called with each message before anybody reads it; if not `queued`, nobody reads it, and the
        subscription only raises the errors of the connection.
        """
        await self.link.connected()
        subscription = Subscription(subject, arrived, queued=queued)
        async with self.link.subscriptions.opened(subscription):
            yield subscription

    async def drain(self, subscription: Subscription) -> list[Message]:
        """End the delivery to `subscription`, and take everything that nobody has read, also what was on its way."""
        return await self.link.subscriptions.drain(subscription)

    async def keep_subscribed(self, subscription: Subscription) -> None:
        """Queue what arrives on the subject of `subscription`, for as long as this connection lives."""
        await self.link.connected()
        await self.link.subscriptions.add(subscription)

    def on_refusal(self, heard: Callable[[str, StorageError], None]) -> None:
        """Call `heard` with the subject (in lower case) of what the server does not permit, for messages that are not
        requests of this connection."""
        self.link.refusals.append(heard)

    async def serve(self, subject: str, answer: Callable[[Message], Awaitable[None]], *, queue: str) -> Served:
        """Call `answer` for each request on `subject`, one at a time, as a member of the queue group `queue`."""
        return await self.client.subscribe(subject, queue=queue, cb=answer)

    async def listen(self, subject: str, take: Callable[[Message], None], *, queue: str) -> Served:
        """As `serve`, but `take` is called as soon as a request is read. It starts what takes longer as a task."""
        return await self.client.listen(subject, take, queue=queue)

    async def until_served(self) -> None:
        """Wait until the server knows all that `serve` has subscribed to; a server that is away will know later."""
        await self.link.subscriptions.known()

    async def stop_serving(self, served: Sequence[Served]) -> None:
        """Leave the queue groups, and wait until the server knows; a dead server will notice by itself."""
        await self.link.subscriptions.remove(served)

    # Life cycle.

    async def wait_connected(self) -> None:
        """Wait a moment for a reconnect. Unlike other calls, this never starts a broker.

        Raises:
            BrokerUnavailableError: there is no connection.
        """
        await self.link.wait_connected()

    async def ensure_running(self) -> None:
        """Start the broker if it does not run and this process may start it; for calls that reach it another way."""
        await self.link.ensure_running()

    async def close(self) -> None:
        await self.link.close()
