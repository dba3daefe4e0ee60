"""Live streams over a wiring: a publisher with a descriptor to hand on, and a reader over NATS."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from secrets import token_bytes
from typing import Any, Literal

from broker_plane.errors import BodyNotFoundError, WireError
from broker_plane.plane.streams.publish import StreamPublisher
from broker_plane.runtime.offering import Terms
from broker_plane.runtime.roles import NatsWay
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.streams import NatsStreams
from broker_plane.wire.body import BYTES_TYPE
from broker_plane.wire.descriptor import V1, parse_descriptor
from broker_plane.wire.exact_json import loads
from broker_plane.wire.grant import transfer_id_of
from broker_plane.wire.names import body_id
from broker_plane.wire.offers import Cargo, Offer, Way, rank
from broker_plane.wire.presigned import PullRequest
from broker_plane.wire.selector import WHOLE
from broker_plane.wire.streams import MAX_BUFFER, StreamInfo, parse_items
from broker_plane.wire.urls import stream_url

JSON_LINES = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class LiveStream:
    """A stream that is being published. `resource_url` and `offer()` are for its one reader."""

    live: StreamInfo
    publisher: StreamPublisher
    grant: str
    resource_url: str
    terms: Terms
    offers_subject: bool

    async def send(self, item: Mapping[str, Any] | bytes) -> int:
        """Store a row or a chunk; waits while the reader is `buffer_size` items behind. As `StreamPublisher.send`."""
        return await self.publisher.send(item)

    async def end(self) -> None:
        """Nothing comes any more."""
        await self.publisher.end()

    def offer(self) -> Offer:
        """Its ways, as descriptors of mode `stream`."""
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


@asynccontextmanager
async def publishing(
    wiring: Wiring,
    owner: str,
    bridge_url: str,
    terms: Terms,
    *,
    kind: Literal["rows", "bytes"],
    media_type: str,
    buffer_size: int,
    end_signal: str,
    ttl: int,
) -> AsyncIterator[LiveStream]:
    """A stream for the time of the block, which ends it; an error in the block leaves it without an end.

    Raises:
        WireError: the buffer or the signal is none.
    """
    if not 1 <= buffer_size <= MAX_BUFFER:
        raise WireError(f"buffer_size is a number of items, from 1 to {MAX_BUFFER}")
    if not end_signal or not end_signal.isprintable() or end_signal.startswith("{"):
        raise WireError("end_signal is one line of text that is no JSON object")
    live = StreamInfo(
        id=body_id(token_bytes(16)),
        owner=owner,
        kind=kind,
        media_type=media_type or (JSON_LINES if kind == "rows" else BYTES_TYPE),
        buffer_size=buffer_size,
        end_signal=end_signal,
        expires=ceil(wiring.now() + ttl),
    )
    log = NatsStreams(wiring.connection)
    await log.create(live, ttl)
    grant = await wiring.grants.minting.mint_stream(live.id, live.expires)
    url = stream_url(bridge_url, grant)
    stream = LiveStream(live, StreamPublisher(live, log), grant, url, terms, wiring.guests)
    yield stream
    await stream.end()


async def followed(nats: NatsWay, address: str, after: int) -> AsyncGenerator[tuple[int, Any], None]:
    """(number, row or chunk) over NATS from `after` on, to the end.

    To ask for the next one says that this one is taken; so who stops goes on later with the number that it had.
    """
    async with nats.puller_for(address) as puller:
        place = after
        while True:
            kind, items = parse_items(
                await puller.request(address, PullRequest(puller.new_number(), WHOLE, after=place))
            )
            for item in items:
                if item.end:
                    with suppress(BodyNotFoundError):  # asked again, because an answer was lost
                        await puller.request(address, PullRequest(puller.new_number(), WHOLE, after=item.number))
                    return
                yield item.number, loads(item.data) if kind == "rows" else item.data
                place = item.number
