"""Decides how the deliveries of one connection ended, if their reader sends no confirmation (decision 0030).

A delivery is *complete* when, after its last byte was written, the reader has acknowledged every byte and then closes
the connection, sends another request on it, or is silent for `silence_seconds`. It is *broken* if the connection is
reset, or ends before that.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial

from broker_plane.web.ack_watcher import AckWatchers, duplicate, reset_on_close, unacknowledged, unsent
from broker_plane.web.delivery import BytesSent, Delivery, Outcome

Written = Callable[[], bool]
"""Returns whether the last byte of an answer was passed to the transport."""


class DeliveryTracker:
    """Holds every undecided delivery of one connection, and decides it."""

    def __init__(
        self,
        transport: asyncio.Transport,
        watchers: AckWatchers,
        sent: BytesSent,
        silence_seconds: float,
        *,
        tls: bool,
    ) -> None:
        self._transport = transport
        self._watchers = watchers
        self._sent = sent
        self._silence_seconds = silence_seconds
        self._loop = asyncio.get_running_loop()
        self._undecided: list[tuple[Delivery, Written]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._buffered = 0
        self._fileno = transport.get_extra_info("socket").fileno()
        self._duplicate: socket.socket | None = None
        if tls:
            # A TLS transport reports its end when the socket below it is already closed.
            self._duplicate = duplicate(self._fileno)
            self._fileno = self._duplicate.fileno()

    def add(self, delivery: Delivery, written: Written) -> None:
        """Track `delivery` until it is decided."""
        self._undecided.append((delivery, written))

    def next_request(self) -> None:
        """A request began. If bytes are still in flight, it was pipelined and says nothing about them."""
        if self._undecided:
            self._complete_acknowledged()

    def answered(self) -> None:
        """The last byte of an answer was written."""
        self._undecided = [pair for pair in self._undecided if pair[0].armed or not pair[1]()]
        self.watch()

    def buffered(self) -> None:
        """The transport's buffer crossed a water mark; a transport that breaks forgets what it held."""
        self._buffered = self._transport.get_write_buffer_size()

    def stopping(self) -> None:
        """The server stops: deliveries that are fully acknowledged are complete, without waiting any longer."""
        self.next_request()

    @property
    def decided(self) -> bool:
        """Whether every delivery of this connection is decided."""
        return not self._undecided

    def leave(self) -> None:
        """Stop tracking: the connection was upgraded, and all its deliveries are decided."""
        if self._timer is not None:
            self._timer.cancel()
        if self._duplicate is not None:
            self._duplicate.close()

    def watch(self) -> None:
        """Check again after a silence, if there is anything to see then."""
        if self._timer is None and (self._undecided or self._in_flight()):
            self._timer = self._loop.call_later(self._silence_seconds, self._quiet, self._acknowledged())

    def reset(self) -> None:
        """Reset the connection: bytes in the kernel are dropped, and no reader mistakes this for the end."""
        reset_on_close(self._fileno)
        for delivery, _ in self._undecided:
            delivery.decide(Outcome.BROKEN, self._transport.get_write_buffer_size() + unsent(self._fileno))
        self._undecided.clear()
        self._transport.abort()

    def lost(self, *, broken: bool) -> None:
        """The transport is closed; its socket, or the duplicate, still exists."""
        if self._timer is not None:
            self._timer.cancel()
        undecided, self._undecided = self._undecided, []
        written = [delivery for delivery, done in undecided if done() and not broken]
        left = self._buffered + unsent(self._fileno)
        for delivery, _ in undecided:
            if delivery not in written:
                delivery.decide(Outcome.BROKEN, left)
        if written:
            sock = self._duplicate or duplicate(self._fileno)
            self._watchers.watch(sock, self._silence_seconds, partial(_decide_all, written))
        elif self._duplicate is not None:
            self._duplicate.close()

    def _in_flight(self) -> int:
        """Bytes that were written on this connection and that the reader has not acknowledged."""
        return self._transport.get_write_buffer_size() + unacknowledged(self._fileno)

    def _acknowledged(self) -> int:
        """Bytes that the reader has acknowledged. Those in flight alone say little: they are refilled as they leave."""
        return self._sent.total - self._in_flight()

    def _complete_acknowledged(self) -> None:
        if self._in_flight():
            return
        for delivery, written in self._undecided:
            if written():
                delivery.decide(Outcome.COMPLETE)
        self._undecided = [pair for pair in self._undecided if pair[0].decided is None]

    def _quiet(self, acknowledged_before: int) -> None:
        """A silence is over: all bytes acknowledged is *complete*; no progress at all is a reader that hangs."""
        self._timer = None
        if self._in_flight() and not self._acknowledged() > acknowledged_before:
            self._transport.abort()
            return
        self._complete_acknowledged()
        self.watch()


def _decide_all(deliveries: list[Delivery], outcome: Outcome, left: int) -> None:
    for delivery in deliveries:
        delivery.decide(outcome, left)
