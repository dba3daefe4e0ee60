"""The messages of an instance to the client of one session: numbered, and kept until the client says it has them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress

from broker_plane.broker.connection import Connection
from broker_plane.errors import BrokerUnavailableError, TooLargeError
from broker_plane.exchange.headers import ALIVE
from broker_plane.transports.nats.replies import publish_numbered

_MOST_KEPT = 100_000


class Outbox:
    """What the server has said in a session."""

    def __init__(self, connection: Connection, inbox: str, first: Mapping[str, str], most_bytes: int) -> None:
        """`first` are headers of the first message. Messages of `most_bytes` may wait for the client."""
        self.said = 0
        """The number of the last message."""
        self._connection = connection
        self._inbox = inbox
        self._first = first
        self._most_bytes = most_bytes
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._kept_bytes = 0

    @property
    def is_empty(self) -> bool:
        """Whether the client has everything."""
        return not self._kept

    async def say(self, line: bytes) -> None:
        """Publish a line under the next number. A line that gets lost is published again when the client asks for it.

        Raises:
            TooLargeError: the client does not read, so that too much waits for it.
        """
        line = line.rstrip(b"\n")
        if self._kept_bytes + len(line) > self._most_bytes or len(self._kept) >= _MOST_KEPT:
            raise TooLargeError("The client does not read what the server sends; its session has ended")
        self.said += 1
        self._kept[self.said] = line
        self._kept_bytes += len(line)
        await self._publish(self.said, line)

    async def got(self, number: int) -> None:
        """The client has the messages up to this number."""
        while self._kept and (first := next(iter(self._kept))) <= number:
            self._kept_bytes -= len(self._kept.pop(first))

    async def say_again(self) -> None:
        """Publish everything again that the client has not."""
        for number, line in list(self._kept.items()):
            await self._publish(number, line)

    async def alive(self) -> None:
        """Say that the instance works on it."""
        with suppress(BrokerUnavailableError):
            await self._connection.publish(self._inbox, b"", headers={ALIVE: "1"})

    async def _publish(self, number: int, line: bytes) -> None:
        with suppress(BrokerUnavailableError):
            headers = self._first if number == 1 else {}
            await publish_numbered(self._connection, self._inbox, number, line, last=False, headers=headers)
