"""Which messages of a session are sent at a time: those of several exchanges, and each exchange in order. Pure.

The window opens with what the callback accepts: one message at first, then twice as many. So a callback that does not
answer holds one connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from broker_plane.plane.exchanges.outbox import Outgoing

MOST_OPEN = 64
"""Messages of one session that were read, from the earliest one that is not settled."""

MOST_AT_ONCE = 16
"""Of those, the messages under way."""

_MOST_BYTES = 4 << 20


@dataclass(slots=True, eq=False)
class Sending:
    """A message of the window. It is settled once it was accepted, or became a dead letter."""

    outgoing: Outgoing
    begun: bool = False
    settled: bool = False


class SendingWindow:
    """The messages of one session, in the order in which they were stored."""

    def __init__(self) -> None:
        self._open: deque[Sending] = deque()
        self._places: set[int] = set()
        self._bytes = 0
        self._width = 1
        self.under_way = 0
        """The number of messages that are being sent."""

    @property
    def full(self) -> bool:
        """Whether no more messages may be added now."""
        return len(self._open) >= MOST_OPEN or self._bytes > _MOST_BYTES

    @property
    def empty(self) -> bool:
        """Whether all messages were settled."""
        return not self._open

    def add(self, outgoing: Outgoing, *, settled: bool = False) -> None:
        """Add the next message; one that is in the window already is no other."""
        if outgoing.place not in self._places:
            self._open.append(Sending(outgoing, begun=settled, settled=settled))
            self._places.add(outgoing.place)
            self._bytes += len(outgoing.said.line)

    def begin(self) -> Iterator[Sending]:
        """Begin to send as many messages as may be under way."""
        waiting: set[str] = set()
        for each in self._open:
            if self.under_way >= self._width:
                return
            exchange = each.outgoing.key.exchange
            if not each.begun and exchange not in waiting:
                each.begun = True
                self.under_way += 1
                yield each
            if not each.settled:
                waiting.add(exchange)

    def accepted(self, sending: Sending) -> None:
        """A message was accepted."""
        self.given_up(sending)
        self._width = min(2 * self._width, MOST_AT_ONCE)

    def given_up(self, sending: Sending) -> None:
        """A message became a dead letter."""
        sending.settled = True
        self.under_way -= 1

    def failed(self, sending: Sending) -> None:
        """A message was not accepted, and is to be sent again."""
        sending.begun = False
        self.under_way -= 1
        self._width = 1

    def settled(self) -> Iterator[Outgoing]:
        """Take out the messages before the first one that is not settled."""
        while self._open and self._open[0].settled:
            outgoing = self._open.popleft().outgoing
            self._places.discard(outgoing.place)
            self._bytes -= len(outgoing.said.line)
            yield outgoing

    def ahead(self) -> list[int]:
        """The places of the settled messages that are left."""
        return [each.outgoing.place for each in self._open if each.settled]
