"""The StreamLog port: each stream is a JetStream stream as long as its buffer, which rejects more (discard new).

The expected last sequence makes appends idempotent and keeps a second publisher out. Acknowledged items are purged,
which makes room; that is announced on `bp.taken.<id>`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import sequence_of
from broker_plane.broker.leader import every
from broker_plane.broker.subscriptions import Subscription
from broker_plane.errors import (
    BodyNotFoundError,
    BrokerUnavailableError,
    ConflictError,
    LeaseLostError,
    StorageError,
    StoreFullError,
    WireError,
)
from broker_plane.storage.layout import stream_config
from broker_plane.wire.streams import END_HEADER, StreamInfo, StreamItem, expiry_of, parse_stream_info

MAX_STREAMS = 1000
"""Maximum number of streams of an account. Each is a JetStream stream with files of its own."""

_POLL_SECONDS = 1.0
"""A message on `bp.taken.<id>` may be lost; so the state of the stream is requested at this interval as well."""

_SOON_SECONDS = 0.02
_MAX_BYTES = 16 << 20
_NOT_FOUND = "10059"


class NatsStreams:
    """The StreamLog port. It needs the rights of the user `plane`."""

    def __init__(self, connection: Connection, max_streams: int = MAX_STREAMS) -> None:
        self._connection = connection
        self._names = connection.names
        self._max_streams = max_streams

    async def create(self, stream: StreamInfo, seconds: int) -> None:
        """As `StreamLog.create`.

        Raises:
            StoreFullError: the account has the maximum number of streams.
        """
        with suppress(BrokerUnavailableError):  # expired streams are then deleted when the next one is created
            if await self._sweep() >= self._max_streams:
                raise StoreFullError(
                    f"The maximum of {self._max_streams:,} live streams is reached; end some, or create them with a "
                    "shorter ttl"
                )
        config = stream_config(
            self._connection,
            self._names.live_stream(stream.id),
            [self._names.live_subject(stream.id)],
            max_bytes=_MAX_BYTES,
        )
        own = {"max_msgs": stream.buffer_size, "max_age": seconds * 10**9, "metadata": stream.to_metadata()}
        await self._connection.retry(
            lambda: self._connection.api(f"STREAM.CREATE.{self._names.live_stream(stream.id)}", config | own)
        )

    async def find(self, stream_id: str) -> StreamInfo:
        """As `StreamLog.find`."""
        config = (await self._state(stream_id))["config"]
        return parse_stream_info(stream_id, config.get("metadata") or {})

    async def append(self, stream: StreamInfo, item: StreamItem) -> None:
        """As `StreamLog.append`."""
        headers = {"Nats-Expected-Last-Sequence": str(item.number - 1)}
        if item.end:
            headers[END_HEADER] = "1"
        async with self._connection.subscribe(self._names.taken_subject(stream.id)) as acks:
            while True:
                try:
                    await self._connection.store(self._names.live_subject(stream.id), item.data, headers)
                    return
                except StoreFullError:
                    with suppress(BrokerUnavailableError):
                        await acks.next(_POLL_SECONDS)
                    await self._state(stream.id)
                except ConflictError:
                    if await self._stored(stream, item):
                        return
                    raise

    async def read(self, stream: StreamInfo, after: int) -> AsyncGenerator[StreamItem, None]:
        """As `StreamLog.read`."""
        last = after
        messages = every(
            self._connection, self._names.live_stream(stream.id), self._names.live_subject(stream.id), after + 1
        )
        async with aclosing(messages):
            async for message in messages:
                number = sequence_of(message)
                if number != last + 1:
                    raise _missing(last)
                last = number
                yield StreamItem(number, message.data, END_HEADER in (message.headers or {}))

    async def follow(self, stream: StreamInfo, after: int) -> AsyncGenerator[StreamItem, None]:
        """As `StreamLog.follow`."""
        last, heard = after, False
        while True:
            async with self._connection.subscribe(self._names.live_subject(stream.id)) as published:
                before = last
                async with aclosing(self.read(stream, last)) as items:
                    async for item in items:
                        last = item.number
                        yield item
                        if item.end:
                            return
                # In a cluster an item is heard when it is sent, which is before a majority has stored it.
                soon = heard and last == before
                heard = await self._next(stream, last, published, _SOON_SECONDS if soon else _POLL_SECONDS)

    async def ack(self, stream: StreamInfo, number: int) -> bool:
        """As `StreamLog.ack`."""
        state = (await self._state(stream.id))["state"]
        if number > state["last_seq"]:
            raise LeaseLostError(f"Item {number} was not published yet; the last one is {state['last_seq']}")
        if number < max(1, state["first_seq"]):  # 0 is before the first item, which may be stored just now
            return False
        last = number == state["last_seq"] and await self._is_end(stream, number)
        if last:
            await self._connection.api(f"STREAM.DELETE.{self._names.live_stream(stream.id)}")
        else:
            await self._connection.retrying_api(
                f"STREAM.PURGE.{self._names.live_stream(stream.id)}", {"seq": number + 1}
            )
        await self._connection.publish(self._names.taken_subject(stream.id), b"%d" % number)
        return last

    async def _stored(self, stream: StreamInfo, item: StreamItem) -> bool:
        """Return whether a conflicting append is this item, stored by an attempt whose answer was lost.

        Raises:
            BrokerUnavailableError: that is not known yet, because no majority has stored it.
        """
        last = (await self._state(stream.id))["state"]["last_seq"]
        if last == item.number - 1:
            raise BrokerUnavailableError("The broker is still storing this item; try again")
        return bool(last == item.number)

    async def _next(self, stream: StreamInfo, last: int, published: Subscription, seconds: float) -> bool:
        """Wait until there may be items after `last`; return whether one was heard of."""
        with suppress(BrokerUnavailableError):
            await published.next(seconds)
            return True
        state = (await self._state(stream.id))["state"]
        if state["first_seq"] > last + 1:
            raise _missing(last)
        return False

    async def _is_end(self, stream: StreamInfo, number: int) -> bool:
        async with aclosing(self.read(stream, number - 1)) as items:
            async for item in items:
                return item.end
        return False

    async def _state(self, stream_id: str) -> dict[str, Any]:
        try:
            return await self._connection.retrying_api(f"STREAM.INFO.{self._names.live_stream(stream_id)}")
        except StorageError as error:
            if _NOT_FOUND in error.reason:
                raise BodyNotFoundError("This stream has ended, or never existed") from error
            raise

    async def _sweep(self) -> int:
        """Delete expired streams and return the number of those that remain. Runs whenever a stream is created."""
        alive = 0
        while True:
            page = {"subject": self._names.live_subject("*"), "offset": alive}
            found = await self._connection.api("STREAM.LIST", page, seconds=self._connection.read_seconds)
            streams = found.get("streams") or []
            expired = sum([await self._expired(info) for info in streams])
            alive += len(streams) - expired
            if not streams or alive >= int(found.get("total") or 0) - expired:
                return alive

    async def _expired(self, info: dict[str, Any]) -> bool:
        """Delete this stream if it has expired, and return whether it had."""
        with suppress(StorageError, WireError):
            if expiry_of(info["config"].get("metadata") or {}) < self._connection.clock.now():
                await self._connection.api(f"STREAM.DELETE.{info['config']['name']}")
                return True
        return False


def _missing(last: int) -> LeaseLostError:
    """Return the error for a gap: items are never skipped silently."""
    return LeaseLostError(f"Items after {last} were deleted: another reader acknowledged them, or they expired")
