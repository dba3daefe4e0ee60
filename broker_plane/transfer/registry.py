"""The handlers of transfer protocols: one record each, beside the facts in `wire/protocols.py`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from broker_plane.errors import UnsupportedProtocolError
from broker_plane.plane.bodies.pull import body_bytes
from broker_plane.plane.ports import Puller
from broker_plane.transfer import live
from broker_plane.transfer.allowance import Allowance
from broker_plane.transfer.files import fs_source, sftp_source
from broker_plane.transfer.http import http_source
from broker_plane.transfer.mqtt import mqtt_source
from broker_plane.transfer.reach import Reach
from broker_plane.transfer.streams import sse_source
from broker_plane.transfer.websocket import ws_source
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.protocols import PROTOCOLS
from broker_plane.wire.protocols import Protocol as ProtocolFacts
from broker_plane.wire.selector import WHOLE

Source = Callable[[Descriptor, Reach, Allowance], AsyncGenerator[bytes, None]]
"""Fetches the bytes behind a descriptor."""

Follow = Callable[[Descriptor, Reach, int], AsyncGenerator[live.Item, None]]
"""Reads a live stream after an item's number."""


class RangeSource(Protocol):
    """A source that can skip the first `after` bytes."""

    def __call__(
        self, descriptor: Descriptor, reach: Reach, allowance: Allowance, *, after: int
    ) -> AsyncGenerator[bytes, None]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """How one protocol is carried out: `resume` continues a partial file, `follow` reads live streams."""

    facts: ProtocolFacts
    source: Source
    resume: RangeSource | None = None
    follow: Follow | None = None
    pushes: bool = False


def handlers(nats: Puller | None = None, follow: live.FollowSubject | None = None) -> Mapping[str, Handler]:
    """The handlers of Level 1 by protocol. `nats` pulls presigned subjects, `follow` reads streams behind them."""
    found = {name: Handler(facts=PROTOCOLS[name], source=source) for name, source in _PLAIN.items()}
    for name in ("https", "http", "s3-presigned"):
        found[name] = Handler(facts=PROTOCOLS[name], source=http_source, resume=http_source, pushes=True)
    for name, source in (("sse", sse_source), ("wss", ws_source), ("ws", ws_source)):
        found[name] = Handler(facts=PROTOCOLS[name], source=source, follow=live.follow)
    found["nats"] = Handler(
        facts=PROTOCOLS["nats"],
        source=_subject_source(nats),
        follow=None if follow is None else lambda descriptor, reach, after: follow(descriptor.endpoint, after),
    )
    return {name: found[name] for name in PROTOCOLS if name in found}


_PLAIN: Mapping[str, Source] = {"mqtt": mqtt_source, "fs": fs_source, "sftp": sftp_source}


def _subject_source(puller: Puller | None) -> Source:
    async def source(descriptor: Descriptor, reach: Reach, allowance: Allowance) -> AsyncGenerator[bytes, None]:
        if puller is None:
            raise UnsupportedProtocolError("This process has no NATS connection for presigned subjects")
        async with (
            puller.pull(descriptor.endpoint, WHOLE) as incoming,
            aclosing(body_bytes(incoming, WHOLE)) as pieces,
        ):
            if incoming.size is not None:
                allowance.announce(incoming.size)
            async for piece in pieces:
                yield piece

    return source
