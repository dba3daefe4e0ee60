"""The port of messages that are sent to callbacks: those of a whole session, in the order in which they were stored."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from broker_plane.plane.exchanges.ports import ExchangeKey, Said


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A stored message of a session. `at` is in unix seconds."""

    position: int
    """Where to go on after this message. Behind it may be messages that came before, but none is missing."""
    at: float
    key: ExchangeKey
    said: Said
    place: int = 0
    """Where the message itself is; no other message of the session has this place."""


class SessionOutbox(Protocol):
    """The stored messages, by session."""

    def after(
        self, server: str, session: str, position: int, *, exchange: str = "*", most: int = 256
    ) -> AsyncGenerator[Outgoing, None]:
        """The messages of a session, or of one exchange, behind a position (0: all that are stored), in order.

        Up to `most` are read ahead.

        Raises:
            BrokerUnavailableError.
        """

    async def next(self, server: str, session: str, position: int) -> Outgoing | None:
        """The first message behind a position, if it is stored and whole; quicker than `after`. Raises as that."""

    async def is_filling(self) -> bool:
        """Whether requests or messages use an eighth of their room or more. Raises as `after`."""

    def requests(self, server: str, session: str) -> AsyncGenerator[tuple[ExchangeKey, bytes], None]:
        """The requests of a session that are stored, answered or not, in order. Raises as `after`."""
