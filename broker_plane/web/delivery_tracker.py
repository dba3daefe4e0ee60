"""The ends of the deliveries of one connection, without a confirmation (rulings.md 10).

A delivery is *complete* when, after its last byte was written, the reader has acknowledged every byte and then ends
the connection, asks for something else on it, or is silent for `silence_seconds`. It is *broken* by a reset, and when
the connection ended before that.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial

from broker_plane.web.delivery import Delivery, Handed, Outcome
from broker_plane.web.ack_watcher import Lingering, duplicate, reset_on_close, unacknowledged

Written = Callable[[], bool]
"""Says whether the last byte of an answer was handed to the transport."""


class Ends:
    """Holds every delivery of one connection that is not decided, and decides it."""

    def __init__(
        self,
        transport: asyncio.Transport,
        lingering: Lingering,
        handed: Handed,
        silence_seconds: float,
        *,
        tls: bool,
    ) -> None:
        self._transport = transport
        self._lingering = lingering
        self._handed = handed
        self._silence_seconds = silence_seconds
        self._loop = asyncio.get_running_loop()
        self._undecided: list[tuple[Delivery, Written]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._buffered = 0
        self._fileno = transport.get_extra_info("socket").fileno()
        self._duplicate: socket.socket | None = None
        if tls:
            # A TLS transport tells of its end when the socket below it is closed already.
            self._duplicate = duplicate(self._fileno)
            self._fileno = self._duplicate.fileno()

    def add(self, delivery: Delivery, written: Written) -> None:
        self._undecided.append((delivery, written))

    def next_request(self) -> None:
        """A request began. One that comes while bytes are on the way was pipelined, and says nothing about them."""
        if self._undecided:
            self._complete_acknowledged()

    def answered(self) -> None:
        """The last byte of an answer was written."""
        self._undecided = [pair for pair in self._undecided if pair[0].armed or not pair[1]()]
        self.watch()

    def buffered(self) -> None:
        """The transport's buffer crossed one of its marks; a transport that breaks forgets what it held."""
        self._buffered = self._transport.get_write_buffer_size()

    def stopping(self) -> None:
        """The server stops: who has acknowledged everything has it, and nothing more is waited for."""
        self.next_request()

    @property
    def decided(self) -> bool:
        """Whether every delivery of this connection is."""
        return not self._undecided

    def leave(self) -> None:
        """The connection is no more one of deliveries, and all of them are decided."""
        if self._timer is not None:
            self._timer.cancel()
        if self._duplicate is not None:
            self._duplicate.close()

    def watch(self) -> None:
        """Look again after a silence, if there is anything to be seen then."""
        if self._timer is None and (self._undecided or self._owed()):
            self._timer = self._loop.call_later(self._silence_seconds, self._quiet, self._taken())

    def reset(self) -> None:
        """End the connection by a reset: what the kernel still holds goes nowhere, and nobody takes it for an end."""
        reset_on_close(self._fileno)
        for delivery, _ in self._undecided:
            delivery.decide(Outcome.BROKEN, self._owed())
        self._undecided.clear()
        self._transport.abort()

    def lost(self, *, broken: bool) -> None:
        """The transport is gone; its socket is still there, or its duplicate."""
        if self._timer is not None:
            self._timer.cancel()
        undecided, self._undecided = self._undecided, []
        written = [delivery for delivery, done in undecided if done() and not broken]
        kept_back = self._buffered + unacknowledged(self._fileno)
        for delivery, _ in undecided:
            if delivery not in written:
                delivery.decide(Outcome.BROKEN, kept_back)
        if written:
            sock = self._duplicate or duplicate(self._fileno)
            self._lingering.watch(sock, self._silence_seconds, partial(_decide_all, written))
        elif self._duplicate is not None:
            self._duplicate.close()

    def _owed(self) -> int:
        """Bytes that were written on this connection and that the reader has not acknowledged."""
        return self._transport.get_write_buffer_size() + unacknowledged(self._fileno)

    def _taken(self) -> int:
        """Bytes that the reader has acknowledged; what it owes alone says little, for it is refilled as it goes."""
        return self._handed.bytes - self._owed()

    def _complete_acknowledged(self) -> None:
        if self._owed():
            return
        for delivery, written in self._undecided:
            if written():
                delivery.decide(Outcome.COMPLETE)
        self._undecided = [pair for pair in self._undecided if pair[0].decided is None]

    def _quiet(self, taken_before: int) -> None:
        """A silence is over: all taken is *complete*, nothing taken is a reader that hangs."""
        self._timer = None
        if self._owed() and not self._taken() > taken_before:
            self._transport.abort()
            return
        self._complete_acknowledged()
        self.watch()


def _decide_all(deliveries: list[Delivery], outcome: Outcome, kept_back: int) -> None:
    for delivery in deliveries:
        delivery.decide(outcome, kept_back)
