"""Live streams in JetStream: a stream each, as long as its buffer, which refuses what does not fit (discard new).

The expected last sequence makes an append that is tried again one append, and keeps a second publisher out. Purging
what was taken makes room; that it was is said on `bp.taken.<id>`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import sequence_of
from broker_plane.broker.leader import every
from broker_plane.broker.subscriptions import Listening
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
from broker_plane.wire.live import (
    END_HEADER,
    Item,
    Live,
    expiry_of,
    live_stream,
    live_subject,
    parse_live,
    taken_subject,
)

MOST_STREAMS = 1000
"""At once, of an account. Each is a stream with files of its own at nats-server."""

_LOOK_SECONDS = 1.0
"""A word on `bp.taken.<id>` may be lost; the stream is asked this often all the same."""

_SOON_SECONDS = 0.02
_MOST_BYTES = 16 << 20
_NOT_FOUND = "10059"


class NatsLive:
    """The LiveLog port; needs the rights of the user plane."""

    def __init__(self, connection: Connection, replicas: int = 1, most_streams: int = MOST_STREAMS) -> None:
        self._connection = connection
        self._replicas = replicas
        self._most_streams = most_streams

    async def create(self, live: Live, seconds: int) -> None:
        with suppress(BrokerUnavailableError):  # whoever makes the next one sweeps for us
            if await self._sweep() >= self._most_streams:
                raise StoreFullError(
                    f"There are {self._most_streams:,} live streams already, which is the most; end some, or give "
                    "them a shorter ttl"
                )
        config = stream_config(live_stream(live.id), [live_subject(live.id)], self._replicas, _MOST_BYTES)
        own = {"max_msgs": live.buffer_size, "max_age": seconds * 10**9, "metadata": live.to_metadata()}
        await self._connection.repeat(
            lambda: self._connection.api(f"STREAM.CREATE.{live_stream(live.id)}", config | own)
        )

    async def find(self, stream_id: str) -> Live:
        config = (await self._info(stream_id))["config"]
        return parse_live(stream_id, config.get("metadata") or {})

    async def append(self, live: Live, item: Item) -> None:
        headers = {"Nats-Expected-Last-Sequence": str(item.number - 1)}
        if item.end:
            headers[END_HEADER] = "1"
        async with self._connection.listening(taken_subject(live.id)) as news:
            while True:
                try:
                    await self._connection.store(live_subject(live.id), item.data, headers)
                    return
                except StoreFullError:
                    with suppress(BrokerUnavailableError):
                        await news.next(_LOOK_SECONDS)
                    await self._info(live.id)
                except ConflictError:
                    # An append whose acknowledgement was lost is there already.
                    last = (await self._info(live.id))["state"]["last_seq"]
                    if last == item.number:
                        return
                    if last == item.number - 1:  # a majority does not have it yet
                        raise BrokerUnavailableError("The broker is still storing this item; try again") from None
                    raise

    async def kept(self, live: Live, after: int) -> AsyncGenerator[Item, None]:
        place = after
        kept = every(self._connection, live_stream(live.id), live_subject(live.id), after + 1)
        async with aclosing(kept) as messages:
            async for message in messages:
                number = sequence_of(message)
                if number != place + 1:
                    await self._missing(live, place)
                place = number
                yield Item(number, message.data, END_HEADER in (message.headers or {}))

    async def follow(self, live: Live, after: int) -> AsyncGenerator[Item, None]:
        place, heard = after, False
        while True:
            async with self._connection.listening(live_subject(live.id)) as news:
                before = place
                async with aclosing(self.kept(live, place)) as items:
                    async for item in items:
                        place = item.number
                        yield item
                        if item.end:
                            return
                # An item is heard of as it is sent, which in a cluster is before a majority has stored it.
                soon = heard and place == before
                heard = await self._next(live, place, news, _SOON_SECONDS if soon else _LOOK_SECONDS)

    async def taken(self, live: Live, number: int) -> bool:
        info = await self._info(live.id)
        state = info["state"]
        if number > state["last_seq"]:
            raise LeaseLostError(f"Nothing after item {state['last_seq']} was sent yet; it cannot have been taken")
        if number < max(1, state["first_seq"]):  # 0 is before the first item, which may be stored just now
            return False
        over = number == state["last_seq"] and await self._is_end(live, number)
        if over:
            await self._connection.api(f"STREAM.DELETE.{live_stream(live.id)}")
        else:
            await self._connection.asked(f"STREAM.PURGE.{live_stream(live.id)}", {"seq": number + 1})
        await self._connection.publish(taken_subject(live.id), b"%d" % number)
        return over

    async def _next(self, live: Live, place: int, news: Listening, seconds: float) -> bool:
        """Wait until there may be more than `place`; returns whether an item was heard of."""
        with suppress(BrokerUnavailableError):
            await news.next(seconds)
            return True
        state = (await self._info(live.id))["state"]
        if state["first_seq"] > place + 1:
            await self._missing(live, place)
        return False

    async def _is_end(self, live: Live, number: int) -> bool:
        async with aclosing(self.kept(live, number - 1)) as items:
            async for item in items:
                return item.end
        return False

    async def _missing(self, live: Live, place: int) -> None:
        """Say why item `place + 1` is not there: a gap is never passed over."""
        raise LeaseLostError(f"Items after {place} are gone: they were taken by the stream's one reader, or expired")

    async def _info(self, stream_id: str) -> dict[str, Any]:
        try:
            return await self._connection.asked(f"STREAM.INFO.{live_stream(stream_id)}")
        except StorageError as error:
            if _NOT_FOUND in error.reason:
                raise BodyNotFoundError("This stream is over, or never was") from error
            raise

    async def _sweep(self) -> int:
        """Remove streams that expired before they were read to their end, and count those that are left.

        Whoever makes the next stream does that.
        """
        alive = 0
        while True:
            asked = {"subject": live_subject("*"), "offset": alive}
            found = await self._connection.api("STREAM.LIST", asked, seconds=self._connection.ask_seconds)
            streams = found.get("streams") or []
            ended = sum([await self._ended(info) for info in streams])
            alive += len(streams) - ended
            if not streams or alive >= int(found.get("total") or 0) - ended:
                return alive

    async def _ended(self, info: dict[str, Any]) -> bool:
        """Whether this stream has expired, and is removed now."""
        with suppress(StorageError, WireError):
            if expiry_of(info["config"].get("metadata") or {}) < self._connection.clock.now():
                await self._connection.api(f"STREAM.DELETE.{info['config']['name']}")
                return True
        return False
