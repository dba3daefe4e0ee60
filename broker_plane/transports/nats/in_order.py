"""Numbered messages of one client to one instance, put together in order (`instance_channel.py` is the other side)."""

from __future__ import annotations

from collections.abc import Mapping

from broker_plane.exchange.headers import PART, SEQ
from broker_plane.exchange.parts import PartJoiner
from broker_plane.transports.nats.wire_form import number_in


class InOrder:
    """Takes each message once, in order."""

    def __init__(self, most_bytes: int) -> None:
        """`most_bytes` is the largest line."""
        self._parts = PartJoiner(most_bytes)
        self._taken = 0
        """The number of the last message that was taken."""

    def is_old(self, headers: Mapping[str, str]) -> bool:
        """Whether a message was taken before, or has no number."""
        return number_in(headers, SEQ) <= self._taken

    def is_next(self, headers: Mapping[str, str]) -> bool:
        """Whether it is the turn of a message."""
        return number_in(headers, SEQ) == self._taken + 1

    def take(self, payload: bytes, headers: Mapping[str, str]) -> bytes | None:
        """Take the next message; returns the line that it completes, if it does."""
        self._taken += 1
        return self._parts.take(payload, headers.get(PART))
