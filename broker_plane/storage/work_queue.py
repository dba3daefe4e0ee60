"""The WorkQueue port: messages of a JetStream stream, claimed over a durable pull consumer (ADR-13).

`ack_wait` of the consumer is the lease. Work is put on condition that its subject has no message yet (ADR-8).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import datetime
from math import inf
from typing import Any

import orjson

from broker_plane.broker.clock import elapsed
from broker_plane.broker.conditional import store_after
from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import status
from broker_plane.broker.messages import Message
from broker_plane.broker.subscriptions import Subscription
from broker_plane.errors import BrokerUnavailableError, ConflictError, TooLargeError
from broker_plane.plane.redacted_logs import redacted_logger

log = redacted_logger(__name__)

LEASE_SECONDS = 10.0

_NANO = 10**9
_HEADER_BYTES = 8192
"""Left in a message for its headers, which count as payload."""

_MOST_CLAIMED = 20_000
_AT_ONCE = 32
"""Work that is requested at once. A process that hangs holds up as much of it for the time of a lease."""

_EXPIRES_SECONDS, _HEARTBEAT_SECONDS = 10.0, 3.0
_SILENT_SECONDS = 2 * _HEARTBEAT_SECONDS + 1
"""Without a heartbeat for so long, the request is lost."""

_SOON_SECONDS, _FULL_SECONDS = 0.001, 0.05
"""How often room is looked for: soon after a claim has ended, and otherwise."""

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 1.0
_HEARTBEAT, _EXPIRED = "100", ("404", "408")


class NatsClaim:
    """The Claim port: a delivery that is not acknowledged yet."""

    def __init__(
        self,
        connection: Connection,
        message: Message,
        lease_seconds: float,
        ended: asyncio.Event,
        known_since: float,
    ) -> None:
        # `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<attempt>.<sequence>.<delivery>.<nanoseconds>.<…>` (ADR-15)
        tokens = message.reply.split(".")
        first = 4 if len(tokens) == 9 else 6
        self.subject = message.subject
        self.payload = message.data
        self.headers: Mapping[str, str] = message.headers or {}
        self.attempt = int(tokens[first])
        self.sequence = int(tokens[first + 1])
        self.delivery = int(tokens[first + 2])
        self.at = int(tokens[first + 3]) / _NANO
        self.known_since = known_since
        self._connection = connection
        self._reply = message.reply
        self._lease_seconds = lease_seconds
        self._until = elapsed() + lease_seconds
        self._ended = ended

    async def extend(self) -> None:
        """As `Claim.extend`."""
        now = elapsed()
        await self._connection.publish(self._reply, b"+WPI")
        if now < self._until:  # else another process may have it already, although the broker accepts this
            self._until = now + self._lease_seconds

    async def done(self, *, confirmed: bool = True) -> None:
        """As `Claim.done`."""
        try:
            if not confirmed:
                await self._connection.publish(self._reply, b"+ACK")
                return
            await self._connection.retry(
                lambda: self._connection.request(self._reply, b"+ACK", seconds=self._connection.attempt_seconds)
            )
        finally:
            self._ended.set()

    async def again(self, seconds: float = 0.0) -> None:
        """As `Claim.again`."""
        self._ended.set()
        if elapsed() < self._until:  # it would end the lease of another process
            nack = b"-NAK " + orjson.dumps({"delay": int(seconds * _NANO)})
            await self._connection.publish(self._reply, nack)


class NatsWorkQueue:
    """The WorkQueue port. Claiming needs the rights of the user `plane`."""

    def __init__(
        self,
        connection: Connection,
        *,
        stream: str,
        durable: str,
        subjects: Sequence[str],
        ensure: Callable[[], Awaitable[None]],
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        """`ensure` creates the stream unless it exists. `durable` and `subjects` are the queue's, for all processes."""
        self._connection = connection
        self._stream = stream
        self._durable = durable
        self._subjects = list(subjects)
        self._ensure = ensure
        self._ensured = False
        self._lease_seconds = lease_seconds
        self._created = inf
        """When the consumer was created, in unix seconds of the broker."""

    async def put(self, subject: str, payload: bytes, headers: Mapping[str, str], ttl_seconds: int) -> bool:
        """As `WorkQueue.put`."""
        most = self._connection.max_payload - _HEADER_BYTES
        if len(payload) > most:
            raise TooLargeError(
                f"The request has {len(payload):,} bytes; this NATS stores at most {most:,} in one message. "
                "Publish the large part and pass its URL, or raise max_payload of nats-server"
            )
        if not self._ensured:
            await self._ensure()
            self._ensured = True
        try:
            conditional = {**headers, "Nats-TTL": f"{ttl_seconds}s"}
            await store_after(self._connection, self._stream, subject, payload, 0, conditional)
        except ConflictError:
            return False
        except BrokerUnavailableError:
            self._ensured = False  # the stream may have been deleted
            raise
        return True

    async def claims(self, room: Callable[[], int]) -> AsyncGenerator[NatsClaim, None]:
        """As `WorkQueue.claims`."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._create_consumer()
                async with self._inbox() as arriving, aclosing(self._claimed(arriving, room)) as claims:
                    async for claim in claims:
                        pause = _FIRST_PAUSE_SECONDS
                        yield claim
            except BrokerUnavailableError as error:
                log.debug("No work is claimed at the moment: %s (%s)", error, error.reason)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    @asynccontextmanager
    async def _inbox(self) -> AsyncIterator[Subscription]:
        """A subscription for claims; those that nobody has read are given back at the end."""
        async with self._connection.subscribe(self._connection.inbox()) as arriving:
            try:
                yield arriving
            finally:
                with suppress(BrokerUnavailableError):
                    for message in await self._connection.drain(arriving):
                        if not status(message):
                            await self._connection.publish(message.reply, b"-NAK")

    async def _claimed(self, arriving: Subscription, room: Callable[[], int]) -> AsyncGenerator[NatsClaim, None]:
        """What arrives for the requests of one subscription, which are renewed until one is lost."""
        ended = asyncio.Event()
        requested, look, delivery = 0, _SOON_SECONDS, 0
        while True:
            wanted = min(_AT_ONCE, room())
            if requested <= wanted // 2 and wanted > requested:
                await self._request(wanted - requested, arriving.subject)
                requested = wanted
            if not requested:
                look = _SOON_SECONDS if await _ended_within(look, ended) else min(2 * look, _FULL_SECONDS)
                continue
            message = await arriving.next(_SILENT_SECONDS)
            if not (number := status(message)):
                requested -= 1
                claim = self._claim(message, ended)
                if claim.delivery <= delivery:  # another process has created the consumer again
                    await self._create_consumer()
                    claim = self._claim(message, ended)
                delivery = claim.delivery
                yield claim
            elif number in _EXPIRED:
                requested = max(0, requested - int((message.headers or {}).get("Nats-Pending-Messages", requested)))
            elif number != _HEARTBEAT:  # the consumer was deleted, or its leader has changed
                reason = f"{number} {(message.headers or {}).get('Description', '')}"
                raise BrokerUnavailableError("The broker cannot deliver work now", reason=reason, retry_after=1)

    def _claim(self, message: Message, ended: asyncio.Event) -> NatsClaim:
        return NatsClaim(self._connection, message, self._lease_seconds, ended, self._created)

    async def _request(self, count: int, inbox: str) -> None:
        request = {
            "batch": count,
            "expires": int(_EXPIRES_SECONDS * _NANO),
            "idle_heartbeat": int(_HEARTBEAT_SECONDS * _NANO),
        }
        subject = f"{self._connection.js_api}.CONSUMER.MSG.NEXT.{self._stream}.{self._durable}"
        await self._connection.publish(subject, orjson.dumps(request), reply=inbox)

    async def _create_consumer(self) -> None:
        """Create stream and consumer unless they exist: a restore or an administrator may have removed them."""
        await self._ensure()
        request = {"stream_name": self._stream, "config": self._config()}
        info = await self._connection.retrying_api(f"CONSUMER.CREATE.{self._stream}.{self._durable}", request)
        self._created = datetime.fromisoformat(info["created"]).timestamp()

    def _config(self) -> dict[str, Any]:
        return {
            "durable_name": self._durable,
            "name": self._durable,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": int(self._lease_seconds * _NANO),
            "max_deliver": -1,  # the server would drop what is delivered too often, and nobody would answer it
            "max_ack_pending": _MOST_CLAIMED,
            "filter_subjects": self._subjects,
            "replay_policy": "instant",
        }


async def _ended_within(seconds: float, ended: asyncio.Event) -> bool:
    """Whether a claim ended within `seconds`."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await ended.wait()
            ended.clear()
            return True
    return False
