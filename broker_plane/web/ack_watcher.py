"""Tracks unacknowledged bytes after asyncio has closed the transport.

A transport closes when the kernel has accepted its last byte; megabytes may still be in flight then. A reader that
hangs up with an empty receive buffer sends FIN first and resets only when those bytes arrive. So a duplicate of the
socket is held until the reader has acknowledged everything, or has reset the connection.
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
_SIOCOUTQNSD = 0x894B
_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.1

Report = Callable[[Outcome, int], None]
"""Receives the outcome and the number of bytes that never left this host."""


def unacknowledged(fileno: int) -> int:
    """Bytes that the kernel accepted and the peer has not acknowledged (`tcp(7)`, SIOCOUTQ).

    Always 0 on other systems than Linux: there, an end by FIN counts as complete once the kernel has every byte.
    """
    return _queued(fileno, _SIOCOUTQ)


def unsent(fileno: int) -> int:
    """Bytes that the kernel accepted and has not sent (`linux/sockios.h`, SIOCOUTQNSD). Always 0 elsewhere than Linux.

    A reader can have received everything else, acknowledged or not: its host delays acknowledgements.
    """
    return _queued(fileno, _SIOCOUTQNSD)


def _queued(fileno: int, request: int) -> int:
    if sys.platform != "linux":
        return 0
    try:
        return int(struct.unpack("i", fcntl.ioctl(fileno, request, bytes(4)))[0])
    except OSError:
        return 0


def duplicate(fileno: int) -> socket.socket:
    """The same connection under a descriptor of our own, which outlives the transport's."""
    return socket.socket(fileno=os.dup(fileno))


def reset_on_close(fileno: int) -> None:
    """Make the connection end by a reset when its last descriptor closes (`socket(7)`, SO_LINGER with zero time)."""
    _set_linger(fileno, 1)


def end_on_close(fileno: int) -> None:
    """Undo `reset_on_close`: the connection ends normally."""
    _set_linger(fileno, 0)


def _set_linger(fileno: int, on: int) -> None:
    with contextlib.suppress(OSError), duplicate(fileno) as sock:  # the reader may have ended it
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", on, 0))


class AckWatchers:
    """All sockets of one server that are watched after their transport has closed."""

    def __init__(self) -> None:
        self._watched: set[AckWatcher] = set()
        self.stopping = False
        """The server stops: an acknowledgement is enough, and the reader's FIN is not awaited."""

    def watch(self, sock: socket.socket, silence_seconds: float, report: Report) -> None:
        """Report once how the connection of `sock` ended, and close it."""
        self._watched.add(watcher := AckWatcher(self, sock, silence_seconds, report))
        watcher.poll()

    def forget(self, watcher: AckWatcher) -> None:
        self._watched.discard(watcher)

    def close(self) -> None:
        """Decide all that are left: a reader that has not acknowledged by now is cut off."""
        for watcher in tuple(self._watched):
            watcher.end(Outcome.BROKEN)


class AckWatcher:
    """One watched socket. No event announces an acknowledgement, so it is polled at growing intervals."""

    def __init__(self, watchers: AckWatchers, sock: socket.socket, silence_seconds: float, report: Report) -> None:
        self._watchers = watchers
        self._loop = asyncio.get_running_loop()
        self._socket = sock
        self._silence_seconds = silence_seconds
        self._report = report
        self._pause = _FIRST_PAUSE
        self._left = unacknowledged(sock.fileno())
        self._since = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            # The duplicate would keep the transport's FIN back.
            sock.shutdown(socket.SHUT_WR)

    def poll(self) -> None:
        """Check the socket, and again after a pause unless the outcome is known."""
        outcome = self._judge()
        if outcome is not None:
            self.end(outcome)
            return
        self._timer = self._loop.call_later(self._pause, self.poll)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    def end(self, outcome: Outcome) -> None:
        """Report the outcome and close the socket."""
        if self._timer is not None:
            self._timer.cancel()
        self._watchers.forget(self)
        left = unsent(self._socket.fileno())
        self._socket.close()
        self._report(outcome, left)

    def _judge(self) -> Outcome | None:
        # After a FIN, recv() keeps reporting the end while a reset shows in SO_ERROR only.
        try:
            ended = self._reader_ended()
        except OSError:
            return Outcome.BROKEN
        if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return Outcome.BROKEN
        left, before = unacknowledged(self._socket.fileno()), self._left
        if left < before:
            self._left, self._since = left, self._loop.time()
        if left == 0 and (ended or self._watchers.stopping):
            return Outcome.COMPLETE
        if self._loop.time() - self._since < self._silence_seconds:
            return None
        return Outcome.BROKEN if left else Outcome.COMPLETE

    def _reader_ended(self) -> bool:
        try:
            return self._socket.recv(65_536) == b""
        except BlockingIOError:
            return False
