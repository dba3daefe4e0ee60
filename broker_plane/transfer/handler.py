"""The record of a handler: how one protocol is carried out. Built-in handlers and plug-ins have the same form."""

from __future__ import annotations

import typing
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from broker_plane.transfer.allowance import Allowance
from broker_plane.transfer.live import Item
from broker_plane.transfer.reach import Reach
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.protocols import Protocol

Source = Callable[[Descriptor, Reach, Allowance], AsyncGenerator[bytes, None]]
"""Fetches the bytes behind a descriptor, before decompression. Size, checksum and expiry are checked by its caller."""

Follow = Callable[[Descriptor, Reach, int], AsyncGenerator[Item, None]]
"""Reads a live stream after an item's number."""

Push = Callable[[Descriptor, Reach, AsyncGenerator[bytes, None], int], Awaitable[object]]
"""Sends the bytes of a file, whose size is the last argument, to the endpoint of a descriptor of mode push."""


class RangeSource(typing.Protocol):
    """A source that can skip the first `after` bytes."""

    def __call__(
        self, descriptor: Descriptor, reach: Reach, allowance: Allowance, *, after: int
    ) -> AsyncGenerator[bytes, None]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """How one protocol is carried out, beside the facts about it.

    `resume` continues a partial file, `follow` reads live streams, `push` sends files; None if it cannot.
    """

    protocol: Protocol
    source: Source
    resume: RangeSource | None = None
    follow: Follow | None = None
    push: Push | None = None
    module: str = ""
    """A module that it needs and that may be missing; without it the protocol is not declared as supported."""
