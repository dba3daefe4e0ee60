"""What a socket still owes its reader after its transport is gone.

A transport closes when the kernel has taken its last byte; megabytes may be on their way then. A reader that hangs
up with an empty receive buffer sends FIN first and resets only when those bytes arrive. So a duplicate of the
socket is held until the reader has acknowledged everything, or has reset.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Callable

from broker_plane.web.delivery import Outcome

_SIOCOUTQ = 0x5411
_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.1

Tell = Callable[[Outcome, int], None]
"""Takes the outcome and the number of bytes that were never acknowledged."""


def unacknowledged(fileno: int) -> int:
    """Bytes that the kernel took and the peer has not acknowledged (`tcp(7)`, SIOCOUTQ).

    Elsewhere than on Linux always 0: there an end by FIN counts as complete once the kernel has taken every byte.
    """
    if sys.platform != "linux":
        return 0
    try:
        return int(struct.unpack("i", fcntl.ioctl(fileno, _SIOCOUTQ, bytes(4)))[0])
    except OSError:
        return 0


def duplicate(fileno: int) -> socket.socket:
    """The same connection under a descriptor of our own, which outlives the transport's."""
    return socket.socket(fileno=os.dup(fileno))


def reset_on_close(fileno: int) -> None:
    """The connection ends by a reset when its last descriptor is closed (`socket(7)`, SO_LINGER with no time)."""
    _linger(fileno, 1)


def end_on_close(fileno: int) -> None:
    """The connection ends as usual, after all: `reset_on_close` is undone."""
    _linger(fileno, 0)


def _linger(fileno: int, on: int) -> None:
    with contextlib.suppress(OSError), duplicate(fileno) as sock:  # the reader may have ended it
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", on, 0))


class Lingering:
    """Every socket of one server that is watched after its transport's end."""

    def __init__(self) -> None:
        self._watched: set[Linger] = set()
        self.stopping = False
        """The server stops: acknowledged is enough, nobody waits for the reader's FIN."""

    def watch(self, sock: socket.socket, silence_seconds: float, tell: Tell) -> None:
        """Tell once how the connection of `sock` ended, and close it."""
        self._watched.add(linger := Linger(self, sock, silence_seconds, tell))
        linger.look()

    def forget(self, linger: Linger) -> None:
        self._watched.discard(linger)

    def close(self) -> None:
        """Decide every one that is left: who has not acknowledged by now is cut off."""
        for linger in tuple(self._watched):
            linger.end(Outcome.BROKEN)


class Linger:
    """One such socket. There is no event for an acknowledgement, so it is polled, at growing intervals."""

    def __init__(self, lingering: Lingering, sock: socket.socket, silence_seconds: float, tell: Tell) -> None:
        self._lingering = lingering
        self._loop = asyncio.get_running_loop()
        self._socket = sock
        self._silence_seconds = silence_seconds
        self._tell = tell
        self._pause = _FIRST_PAUSE
        self._left = unacknowledged(sock.fileno())
        self._since = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            # The duplicate would keep the transport's FIN back.
            sock.shutdown(socket.SHUT_WR)

    def look(self) -> None:
        outcome = self._judge()
        if outcome is not None:
            self.end(outcome)
            return
        self._timer = self._loop.call_later(self._pause, self.look)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    def end(self, outcome: Outcome) -> None:
        """Tell the outcome and let the socket go."""
        if self._timer is not None:
            self._timer.cancel()
        self._lingering.forget(self)
        left = unacknowledged(self._socket.fileno())
        self._socket.close()
        self._tell(outcome, left)

    def _judge(self) -> Outcome | None:
        # After a FIN, recv() goes on saying "end" while the reset stands in SO_ERROR only.
        try:
            ended = self._reader_ended()
        except OSError:
            return Outcome.BROKEN
        if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return Outcome.BROKEN
        left, before = unacknowledged(self._socket.fileno()), self._left
        if left < before:
            self._left, self._since = left, self._loop.time()
        if left == 0 and (ended or self._lingering.stopping):
            return Outcome.COMPLETE
        if self._loop.time() - self._since < self._silence_seconds:
            return None
        return Outcome.BROKEN if left else Outcome.COMPLETE

    def _reader_ended(self) -> bool:
        try:
            return self._socket.recv(65_536) == b""
        except BlockingIOError:
            return False
