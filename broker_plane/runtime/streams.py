"""`plane.streams`: live streams of rows or chunks, for one reader each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from secrets import token_bytes
from typing import Any, Literal

from broker_plane.config import Settings
from broker_plane.errors import WireError
from broker_plane.plane.streams.publish import StreamPublisher
from broker_plane.runtime import arguments
from broker_plane.runtime.offering import Terms, terms_of
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.streams import NatsStreams
from broker_plane.wire.body import BYTES_TYPE
from broker_plane.wire.descriptor import V1, parse_descriptor
from broker_plane.wire.grant import transfer_id_of
from broker_plane.wire.names import body_id
from broker_plane.wire.offers import Cargo, Offer, Way, rank
from broker_plane.wire.streams import END_SIGNAL, MAX_BUFFER, StreamInfo
from broker_plane.wire.urls import stream_url

JSON_LINES = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class LiveStream:
    """A stream that is being published. `resource_url` and `offer()` are for its only reader."""

    live: StreamInfo
    publisher: StreamPublisher
    grant: str
    resource_url: str
    terms: Terms
    offers_subject: bool

    async def send(self, item: Mapping[str, Any] | bytes) -> int:
        """Store a row or a chunk, and return its number; waits while the reader is `buffer_size` items behind.

        Raises:
            TabularError, TooLargeError, BrokerUnavailableError: as `StreamPublisher.send`.
        """
        return await self.publisher.send(item)

    async def end(self) -> None:
        """End the stream."""
        await self.publisher.end()

    def offer(self) -> Offer:
        """Return its ways, as descriptors of mode `stream`."""
        live = self.live
        shared: dict[str, Any] = {
            "$schema": V1,
            "transfer_id": transfer_id_of(self.grant),
            "mode": "stream",
            "format": live.media_type,
            "expires": datetime.fromtimestamp(live.expires, UTC),
            "fallback": "error",
            "stream": {"reconnect": True, "buffer_size": live.buffer_size, "end_signal": live.end_signal},
        }
        scheme, _, rest = self.resource_url.partition("://")
        socket = "wss" if scheme == "https" else "ws"
        ways = [
            Way(parse_descriptor(shared | {"protocol": socket, "endpoint": f"{socket}://{rest}"})),
            Way(parse_descriptor(shared | {"protocol": "sse", "endpoint": self.resource_url, "method": "GET"})),
        ]
        if self.offers_subject:
            nats = parse_descriptor(
                shared | {"protocol": "nats", "endpoint": self.terms.names.pull_subject(self.grant)}
            )
            ways.append(Way(nats, self.terms.nats_encrypted, self.terms.nats_near))
        return rank(ways, Cargo(kind=live.kind, live=True), self.terms.plain)


class Streams:
    """Publishes live streams. Needs the role `plane`; every role can read them (`plane.pulls.follow`)."""

    def __init__(self, wiring: Wiring, settings: Settings, bridge_url: str) -> None:
        self._wiring = wiring
        self._settings = settings
        self._bridge_url = bridge_url

    def publish(
        self,
        kind: Literal["rows", "bytes"] = "rows",
        *,
        media_type: str = "",
        buffer_size: int = 64,
        end_signal: str = END_SIGNAL,
        ttl: arguments.Lifetime | None = None,
    ) -> AbstractAsyncContextManager[LiveStream]:
        """`async with plane.streams.publish() as stream: await stream.send(row)`: rows or chunks for one live reader.

        `send` applies back-pressure: it waits while the reader is `buffer_size` items behind. Items that are not
        acknowledged within `ttl` seconds are lost, and the reader gets an error. The end of the block ends the stream;
        an error in the block leaves it without an end (docs/transfers.md).

        Raises:
            WireError: `kind`, `buffer_size` or `end_signal` is not valid.
        """
        arguments.one_of(kind, "kind", "rows", "bytes")
        _check(buffer_size, end_signal)
        seconds = self._settings.ttl_seconds if ttl is None else arguments.whole_seconds(ttl)
        live = StreamInfo(
            id=body_id(token_bytes(16)),
            owner=self._settings.owner,
            kind=kind,
            media_type=media_type or (JSON_LINES if kind == "rows" else BYTES_TYPE),
            buffer_size=buffer_size,
            end_signal=end_signal,
            expires=ceil(self._wiring.now() + seconds),
        )
        return self._published(live, seconds)

    @asynccontextmanager
    async def _published(self, live: StreamInfo, seconds: int) -> AsyncIterator[LiveStream]:
        wiring, settings = self._wiring, self._settings
        log = NatsStreams(wiring.connection)
        await log.create(live, seconds)
        grant = await wiring.grants.minting.mint_stream(live.id, live.expires)
        url = stream_url(self._bridge_url, grant)
        stream = LiveStream(live, StreamPublisher(live, log), grant, url, terms_of(settings), wiring.guests)
        yield stream
        await stream.end()


def _check(buffer_size: int, end_signal: str) -> None:
    if not 1 <= buffer_size <= MAX_BUFFER:
        raise WireError(f"buffer_size is a number of items, from 1 to {MAX_BUFFER}")
    if not end_signal or not end_signal.isprintable() or end_signal.startswith("{"):
        raise WireError("end_signal is one line of text that is not a JSON object")
