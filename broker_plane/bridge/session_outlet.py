"""One reader of a session's events: what it has not read is bounded, and it closes with the code of an error."""

from __future__ import annotations

from broker_plane.errors import BrokerPlaneError, RegionLeasedError
from broker_plane.web.problems import status_of
from broker_plane.web.sockets import Socket

MOST_UNREAD = 256 << 10
"""Bytes of events that may wait for a reader, besides the answers that it requested."""

MOST_MESSAGE = 1 << 20
"""Maximum size of a message from a reader: nats-server stores no larger one by default."""

CLOSE_RESTART = 1012
"""The bridge stops: reconnect, to another one."""

CLOSE_LATER = 1013
"""Reconnect after a while: the reader was too slow, or sent too much."""

CLOSE_OURS = 4000
"""Plus the HTTP status of the error. Clients do not reconnect after 4400 to 4499: it would end the same way."""

SLOW_READER = "slow_reader"
_MOST_REASON = 120


class Outlet:
    """Writes events and answers to one socket."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._answers = 0

    @property
    def is_open(self) -> bool:
        """Whether the socket can be written to."""
        return self._socket.is_open

    def answer(self, frame: bytes) -> None:
        """Write what the reader requested, which does not count as unread events."""
        if self._socket.buffered == 0:
            self._answers = 0
        self._answers += len(frame)
        self._socket.write(frame)

    def offer(self, frame: bytes) -> bool:
        """Write an event, unless too much is unread; returns whether it was written."""
        unread = self._socket.buffered
        if unread == 0:
            self._answers = 0
        if unread - self._answers > MOST_UNREAD:
            return False
        self._socket.write(frame)
        return True

    async def drained(self) -> None:
        """Wait until the reader has taken most of what was written, or has left."""
        await self._socket.drained()

    def close(self, code: int, reason: str) -> None:
        """Close the connection, however much is unread."""
        self._socket.close(code, reason.encode()[:_MOST_REASON].decode(errors="ignore"))


def close_code(error: BrokerPlaneError) -> int:
    """The code that a socket closes with after `error`; the reason is the error's code.

    Errors that a later attempt may not meet have no code from 4400 to 4499, after which clients give up.
    """
    status = status_of(error)
    passes = (error.retryable and status < 500) or isinstance(error, RegionLeasedError)
    return CLOSE_LATER if passes else CLOSE_OURS + status
