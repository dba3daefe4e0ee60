"""The port of the session log."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from broker_plane.sessions.entries import Entry


@dataclass(frozen=True, slots=True)
class Group:
    """Entries that were stored by one write. `sequence` is what the next write has to name."""

    sequence: int
    entries: tuple[Entry, ...]
    size: int = field(default=0, compare=False)
    """Of the packed entries, in bytes."""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """Whose session it is, and when its log expires (unix seconds)."""

    owner: str
    expires: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A folded state: `raw` is what `pack_state` made of it at `revision`, after the group `sequence`."""

    revision: int
    sequence: int
    raw: bytes


class SessionLog(Protocol):
    """The ordered, durable log of each session, its snapshots, and the lease of the bridge that writes them."""

    async def create(self, session: str, owner: str, entries: Sequence[Entry], seconds: int) -> Group:
        """Store the first group of a session of `owner`. All groups of the session are kept for `seconds` from now.

        Raises:
            ConflictError: the session exists. StoreFullError, BrokerUnavailableError.
        """

    async def find(self, session: str) -> SessionInfo:
        """The owner and the end of a session.

        Raises:
            SessionNotFoundError: there is no such session, or it has expired.
        """

    async def append(self, session: str, entries: Sequence[Entry], after: int) -> Group:
        """Store a group after the one with the sequence `after`. nats-server broadcasts it once it is stored.

        Raises:
            ConflictError: another group was stored meanwhile; read it, and decide again.
            SessionNotFoundError: there is no such session, or it has expired.
            BrokerUnavailableError: the outcome is unknown; read the log. StoreFullError.
        """

    def read(self, session: str, after: int = 0) -> AsyncGenerator[Group, None]:
        """Yield the stored groups after the sequence `after`, in order.

        Raises:
            SessionNotFoundError: there is no such session, or it has expired.
        """

    def follow(self, session: str, after: int) -> AsyncGenerator[Group, None]:
        """Yield the groups after the sequence `after`, then each new one as soon as it is stored. Raises as `read`."""

    async def load_snapshot(self, session: str) -> Snapshot | None:
        """The newest snapshot; None if there is none, or it is damaged."""

    async def save_snapshot(self, session: str, snapshot: Snapshot) -> None:
        """Replace the snapshot, unless a newer one is stored. An error loses nothing: the log is the truth."""

    async def take_lease(self, session: str, holder: str, seconds: int) -> bool:
        """Take or renew the lease of writing snapshots; False if another bridge has it."""

    async def present(self, session: str, raw: bytes) -> None:
        """Tell the presence of participants to everybody who hears this session now. Nothing is stored."""

    def hear_presence(self, session: str) -> AsyncGenerator[bytes, None]:
        """Yield what `present` tells, from now on."""
