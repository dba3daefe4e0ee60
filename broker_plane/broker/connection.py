"""One connection to nats-server, and what is asked of it: requests with an answer, acknowledged publishes, direct gets.

nats-py's faults that matter here (reference: nats.py#703 and its source): its buffer while disconnected hides that the
broker is away, so it is off; `publish_async` never resolves on an error, so acknowledgements are read here; a refused
publish is only told to the error callback, so who waits for its answer is looked up there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import nats.errors
import orjson
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from broker_plane.broker.client import NatsClient
from broker_plane.broker.clock import ServerClock
from broker_plane.broker.diagnosis import diagnose, error_of
from broker_plane.broker.dropped import Dropped
from broker_plane.broker.errors import (
    AWAY,
    NO_ANSWER,
    NO_RESPONDERS,
    NOT_PERMITTED,
    away,
    electing,
    fail,
    not_permitted,
    parsed,
)
from broker_plane.broker.lifeline import Lifeline
from broker_plane.broker.subscriptions import Listening
from broker_plane.broker.urls import hosts_of, seeds_of
from broker_plane.errors import BrokerUnavailableError, StorageError
from broker_plane.plane.fairness.admission import READ_BYTES, Admission
from broker_plane.plane.redacted_logs import quiet, quiet_logger
from broker_plane.plane.retry import patiently

quiet("nats")
log = quiet_logger(__name__)

T = TypeVar("T")
Headers = Mapping[str, str]

_JS_API = "$JS.API"
_ATTEMPT_SECONDS = 2.0
"""For one answer in a cluster: what went to a node that has just died is never answered. An election takes longer."""

_ASK_SECONDS = 1.0
_PING_SECONDS = 4
_NODE_SECONDS = 2.0
_LONGEST_WAIT_SECONDS = 0.25
"""Between two attempts; who has no leader is told so at once, and an election ends at any moment."""

_RECONNECT_SECONDS = 1.0
_REVIVED_SECONDS = 10.0
"""To be connected again to a broker that was started again: it is ready, so this takes some milliseconds."""


class Connection:
    """A connection that recovers by itself; calls wait a moment for that, then raise BrokerUnavailableError.

    Whoever waits for an answer when it breaks is told at once: that answer does not come any more.
    """

    def __init__(self, timeout: float, client: NatsClient | None = None) -> None:
        self.client = client or NatsClient()
        self.timeout = timeout
        self.url = ""
        """Where it leads, with the user."""
        self.js_api = _JS_API
        """The prefix of JetStream's API: another one where JetStream is in another domain."""
        self.lifeline: Lifeline | None = None
        """To a broker that this process may start again."""
        self.clock = ServerClock()
        self.store_bytes = -1
        """Of the server's store, where it is known; streams are made for a share of it."""
        self._answers: dict[str, asyncio.Future[Msg]] = {}
        self._asked_of: dict[str, str] = {}
        self._answer_inbox = ""
        self._deaf: StorageError | None = None
        self._asked = 0
        self._breaks = 0
        self._dropped = Dropped(self, self._answers, self._asked_of)
        self._listenings: set[Listening] = set()
        self._looking: asyncio.Task[None] | None = None
        self.leaderless: dict[str, float] = {}
        """Streams that had no leader, and until when (monotonic) that is believed."""
        self.reads = Admission(READ_BYTES)
        """What all reads of stored data together have asked for and not yet received."""

    @property
    def max_payload(self) -> int:
        return self.client.max_payload

    @property
    def clustered(self) -> bool:
        """Whether the server belongs to a cluster: another replica than the leader may answer, and leaders change."""
        return bool(self.client.server_info.get("cluster"))

    @property
    def attempt_seconds(self) -> float:
        """What to wait for one answer before the same is asked again."""
        return min(self.timeout, _ATTEMPT_SECONDS) if self.clustered else self.timeout

    @property
    def ask_seconds(self) -> float:
        """The same for a request that only reads: a stream without a leader does not answer it at all."""
        return min(self.timeout, _ASK_SECONDS) if self.clustered else self.timeout

    @property
    def patience(self) -> float:
        """How long to try again what may be repeated, so that it outlasts an election; on one server, not at all."""
        return 2 * self.timeout if self.clustered else 0.0

    async def repeat(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """What `attempt` returns. In a cluster it is made again while a leader is being elected: it is idempotent."""
        if self.clustered:
            return await patiently(
                attempt, self.patience, only=BrokerUnavailableError, longest_wait=_LONGEST_WAIT_SECONDS
            )
        return await attempt()

    def inbox(self) -> str:
        return self.client.new_inbox()

    async def start(self, servers: Sequence[str] = ()) -> None:
        """For a client that has just connected: from here on it connects again, to one of `servers`, too."""
        self.client.establish(servers)
        if self.clustered:
            self.client.options |= {"ping_interval": _PING_SECONDS}
            self.client.options["connect_timeout"] = min(self.client.options["connect_timeout"], _NODE_SECONDS)
        self._answer_inbox = self.client.new_inbox()
        await self.client.subscribe(f"{self._answer_inbox}.*", cb=self._answered, pending_bytes_limit=0)

    async def request(
        self, subject: str, payload: bytes = b"", headers: Headers | None = None, *, seconds: float = 0
    ) -> Msg:
        """The answer to a request, within `seconds`; 0 is this connection's time-out.

        Raises:
            BrokerUnavailableError: none came in time; whether the request was done is not known.
            NotPermittedError: this user may not ask that.
        """
        return await self.answer(await self.send(subject, payload, headers), seconds)

    async def api(self, subject: str, fields: Mapping[str, Any] | None = None, *, seconds: float = 0) -> dict[str, Any]:
        """The JSON answer of a JetStream API request; `{"error": …}` is raised."""
        payload = orjson.dumps(fields) if fields is not None else b""
        breaks, started = self._breaks, self.clock.started()
        try:
            answer = parsed(await self.request(f"{self.js_api}.{subject}", payload, seconds=seconds))
        except BrokerUnavailableError:
            if self.lifeline is None or breaks == self._breaks:
                raise
            # The broker ended meanwhile, and is started again: all that is asked here may be asked twice.
            answer = parsed(await self.request(f"{self.js_api}.{subject}", payload, seconds=seconds))
        self.clock.heard(answer.get("ts"), started)
        return answer

    async def asked(self, subject: str, fields: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """As `api`, for what may be asked twice: in a cluster again while a leader is being elected."""
        return await self.repeat(lambda: self.api(subject, fields, seconds=self.ask_seconds))

    async def send(self, subject: str, payload: bytes, headers: Headers | None = None) -> asyncio.Future[Msg]:
        """Publish with a reply subject of its own; the future is the answer. Order is kept."""
        await self._connected()
        if self._deaf:
            raise self._deaf
        if subject.startswith("$KV.") and self.js_api != _JS_API:
            subject = f"{self.js_api}.{subject}"  # what is written to a key-value bucket does not go to another domain
        self._asked += 1
        number = str(self._asked)
        future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._answers[number], self._asked_of[number] = future, subject
        future.add_done_callback(lambda _: self._forget(number))
        try:
            await self.client.publish(
                subject, payload, reply=f"{self._answer_inbox}.{number}", headers=dict(headers) if headers else None
            )
        except AWAY as error:
            future.cancel()
            raise away(error) from error
        except BaseException:
            future.cancel()
            raise
        return future

    async def acknowledged(self, future: asyncio.Future[Msg], seconds: float = 0) -> dict[str, Any]:
        """Wait for the acknowledgement of a stream: `{"stream", "seq"}`.

        Raises:
            BrokerUnavailableError: none came in time; the outcome is unknown.
            ConflictError, StoreFullError, StorageError: the stream refused.
        """
        if not self.clustered:  # what a dead leader did not answer was not dropped for lack of space, and is sent again
            await self._dropped.answered(future, seconds or self.timeout)
        return parsed(await self.answer(future, seconds))

    async def store(self, subject: str, payload: bytes, headers: Headers | None = None, *, seconds: float = 0) -> int:
        """Publish one message to a stream and return its sequence."""
        ack = await self.acknowledged(await self.send(subject, payload, headers), seconds)
        sequence: int = ack["seq"]
        return sequence

    async def listen(self, listening: Listening) -> Subscription:
        """What comes on its subject goes to `listening`, as long as there is this connection."""
        await self._connected()
        subscription = await self.client.subscribe(
            listening.subject, cb=listening.take, pending_bytes_limit=0, pending_msgs_limit=0
        )
        self._listenings.add(listening)
        return subscription

    @asynccontextmanager
    async def listening(self, subject: str, arrived: Callable[[Msg], None] | None = None) -> AsyncIterator[Listening]:
        """A subscription for the time of the block; `arrived` is told of each message before anybody reads it."""
        listening = Listening(subject, arrived)
        subscription = await self.listen(listening)
        try:
            yield listening
        finally:
            self._listenings.discard(listening)
            with suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def leave(self, subscriptions: list[Subscription]) -> None:
        """Nothing comes on these any more, and the server knows it; where it does not answer, it will notice itself."""
        with suppress(nats.errors.Error, asyncio.TimeoutError, OSError):
            for subscription in subscriptions:
                await subscription.unsubscribe()
            await asyncio.sleep(0)  # nats-py writes its PING before what is still in its queue
            await self.client.flush(1)

    async def next_message(self, listening: Listening) -> Msg:
        return await listening.next(self.timeout)

    async def publish(self, subject: str, payload: bytes, **options: Any) -> None:
        await self._connected()
        try:
            await self.client.publish(subject, payload, **options)
        except AWAY as error:
            raise away(error) from error

    async def close(self) -> None:
        for future in list(self._answers.values()):
            future.cancel()
        if self._looking is not None:
            self._looking.cancel()
        await self.client.abandon()

    async def broken(self) -> None:
        """For nats-py, which calls this when the connection breaks."""
        if not self.client.is_closed:
            log.warning("the connection to NATS is lost; trying to connect again")
        # It would send what it had not yet sent to the next server: writes whose writers were told that they failed,
        # after the purge by which these undo them.
        self.client.forget_unsent()
        self._breaks += 1
        for future in list(self._answers.values()):
            fail(future, away(None, "the connection broke"))
        for listening in self._listenings:
            listening.lose(away(None, "the connection broke"))

    async def back(self) -> None:
        """For nats-py, which calls this when it has connected again."""
        where = self.client.connected_url
        log.warning("connected to NATS again, at %s", where.netloc.rpartition("@")[2] if where else "an unknown server")

    async def refused(self, error: Exception) -> None:
        """For nats-py, which calls this with what the server said. Who waits for what was refused is told.

        Everything else is silent: what fails while it connects again says so itself.
        """
        found = NOT_PERMITTED.search(str(error))
        if found is None:
            return
        subject = found[1].lower()  # nats-py makes all of the server's words lower-case
        refusal = not_permitted(self.user, subject, self.where)
        if subject == f"{self._answer_inbox}.*".lower():
            self._deaf = refusal  # no answer will ever come: another user's name, or another role than was said
        for number, asked in list(self._asked_of.items()):
            if self._deaf or asked.lower() == subject:
                fail(self._answers[number], refusal)
        for listening in self._listenings:
            if listening.subject.lower() == subject:
                listening.lose(refusal)

    @property
    def user(self) -> str:
        """The user's name, for messages."""
        return str(self.client.options.get("user") or "this user")

    def _forget(self, number: str) -> None:
        self._answers.pop(number, None)
        self._asked_of.pop(number, None)

    @property
    def where(self) -> str:
        """The servers' addresses, for messages: nothing secret."""
        return hosts_of(self.url)

    @property
    def requests(self) -> int:
        """How many were sent."""
        return self._asked

    async def reachable(self) -> None:
        """Wait a moment for a connection that is being made again, for who waits: nothing is started for it.

        Raises:
            BrokerUnavailableError: there is none.
        """
        await self._reconnected(min(_RECONNECT_SECONDS, self.timeout))

    async def awake(self) -> None:
        """The broker runs, where this process may start it; for calls that go there on another way."""
        if self.lifeline is not None:
            await self._connected()

    async def _connected(self) -> None:
        """Wait a moment for a connection that is being made again. Where the broker can be started again, it is."""
        if self.lifeline is None:
            if not self.client.is_connected:
                await self.reachable()
            return
        if await self.lifeline.holds(self.client):
            return
        url = await self.lifeline.start()
        if url != self.url:
            seeds, self.url = seeds_of(url), url
            self.client.readdress(seeds.urls, seeds.user, seeds.password)
        await self._reconnected(_REVIVED_SECONDS)

    async def _reconnected(self, seconds: float) -> None:
        if self.client.is_connected:
            return
        deadline = asyncio.get_running_loop().time() + seconds
        while not self.client.is_connected:
            if self.client.is_closed or asyncio.get_running_loop().time() > deadline:
                raise self._not_connected()
            await asyncio.sleep(0.01)

    def _not_connected(self) -> BrokerUnavailableError:
        failed = self.client.failed
        if failed is None or not failed.refused:
            return away(None, f"not connected: {self.client.last_error!r}")
        found = diagnose(failed, self.client.access, self.client.options["connect_timeout"])
        return BrokerUnavailableError(str(error_of([found], token=False)), reason=repr(failed.error), retry_after=1)

    async def answer(self, future: asyncio.Future[Msg], seconds: float = 0) -> Msg:
        """Wait for the answer to what was sent. Raises as `request` does."""
        await asyncio.wait({future}, timeout=seconds or self.timeout)
        if not future.done() and self.clustered and self._looking is None:
            self._looking = asyncio.create_task(self._leave_a_dead_node())
        fail(future, self._unanswered(NO_ANSWER))
        return future.result()

    async def _leave_a_dead_node(self) -> None:
        """Where our own node does not even answer a ping, go to another one; nats-py would wait for much longer."""
        try:
            await self.client.flush(1)
        except (TimeoutError, nats.errors.Error, OSError):
            if self.client.is_connected:
                self.client.drop()
        finally:
            self._looking = None

    def _unanswered(self, reason: str) -> BrokerUnavailableError:
        return electing(reason) if self.clustered else away(None, reason)

    async def _answered(self, message: Msg) -> None:
        future = self._answers.get(message.subject.rpartition(".")[2])
        if future is None or future.done():
            return
        headers = message.headers or {}
        if headers.get("Status") == "503" and "Nats-Stream" not in headers:  # ADR-4; a stored message may say it, too
            fail(future, self._unanswered(NO_RESPONDERS))
        else:
            future.set_result(message)
