"""The ports: what the plane needs of a broker, in its own words. storage/ has the adapters."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from broker_plane.wire.audit import Entry
from broker_plane.wire.body import BodyInfo, Table
from broker_plane.wire.grant import Key
from broker_plane.wire.look import Look
from broker_plane.wire.names import BodyId
from broker_plane.wire.selector import Selector


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is known of a body before its first byte. `created` and `expires` are unix seconds."""

    id: BodyId
    owner: str
    kind: Literal["rows", "bytes"]
    media_type: str
    name: str = ""
    created: float
    expires: int
    collect: bool = False
    feed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What is known of a rows body after its last byte."""

    rows: int | None = None
    columns: tuple[str, ...] = ()
    table: Table | None = None


class BodyWriter(Protocol):
    """A body that is being written. Nobody sees it before `commit`."""

    async def write(self, piece: bytes) -> None:
        """Take the next bytes; waits while too many are not acknowledged.

        Raises:
            StoreFullError, BrokerUnavailableError, TooLargeError: nothing of the body will be kept.
        """

    async def commit(self, shape: Shape) -> BodyInfo:
        """Make the body readable: after this it is acknowledged, and durable as the broker is.

        Raises:
            BrokerUnavailableError: whether it is readable is not known. It is so as a whole, or not at all.
            ConflictError, StoreFullError, StorageError: nothing of the body will be kept.
        """


class BodyStore(Protocol):
    """Bodies, immutable, by owner and id."""

    def writer(self, draft: Draft) -> AbstractAsyncContextManager[BodyWriter]:
        """A writer; leaving it without a commit removes what was written."""

    async def info(self, owner: str, body_id: BodyId) -> BodyInfo:
        """What is known of a body.

        Raises:
            BodyNotFoundError: there is none, or no longer.
        """

    def read(self, body: BodyInfo, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the stored bytes from `start` to `stop`. A completed iteration of the whole is a verified read.

        Raises:
            BodyLostError: bytes are gone or changed; where the whole is read, before the last piece is yielded.
        """

    def list(self, owner: str) -> AsyncIterator[BodyInfo]:
        """Every committed body of `owner`, oldest first."""

    async def delete(self, owner: str, body_id: BodyId) -> None:
        """Remove a body; its bytes are free at once.

        Raises:
            BodyNotFoundError: there is none.
        """


class GrantStates(Protocol):
    """What must be remembered about a grant, by grant id, changed by compare-and-set only."""

    async def load(self, grant_id: str) -> tuple[bytes | None, int]:
        """The entry and its revision; `(None, 0)` where there is none."""

    async def save(self, grant_id: str, entry: bytes, revision: int, ttl_seconds: int) -> int:
        """Write the entry if its revision is still `revision`; return the new one.

        Raises:
            ConflictError: it is not. After any other error the outcome is unknown: load again.
        """


class AuditLog(Protocol):
    """What is noted of grants and deliveries, in the order in which it was noted by each process."""

    dropped: int
    """Entries that were lost."""

    def note(self, entry: Entry) -> None:
        """Take an entry, to be written within a second. Never waits and never fails."""

    def read(self) -> AsyncGenerator[Entry, None]:
        """Every entry that is kept."""


class Keys(Protocol):
    """Owners' keys (rulings.md 1): the first of a ring seals, all of it open."""

    async def sealing(self) -> Key:
        """The key that seals this owner's grants."""

    async def opening(self, key_id: bytes) -> list[tuple[str, Key]]:
        """Every owner's key of this id, with the owner's name; none for an unknown id."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong while the broker answers. `code` is for programs, `detail` says what to do.

    Where it `stops` the bridge, nothing new can be stored, or grants cannot be opened.
    """

    code: Literal["disk_full", "store_full", "bucket_full", "clock_skew", "keys_lost"]
    detail: str
    stops: bool


@dataclass(frozen=True, slots=True)
class Readiness:
    """The broker answers. `durability` says what an acknowledgement means; `stored_bytes` are those of all bodies."""

    durability: str
    stored_bytes: int
    troubles: tuple[Trouble, ...] = ()
    skew_seconds: float = 0.0
    """By which this host's wall clock is ahead of nats-server's."""


class Broker(Protocol):
    """The broker as a whole."""

    async def ready(self) -> Readiness:
        """Ask the broker, within a second.

        Raises:
            BrokerUnavailableError: it does not answer.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A body on its way in. `pieces` are its stored bytes, or frames cut to the selector where `cut` is True.

    A completed iteration of `pieces` of a whole body is a verified read: size and SHA-256 hold. Without a `digest` they
    are a part of the body, by the selector or by the grant, each of whose frames is verified when it is decoded.
    """

    kind: Literal["rows", "bytes"]
    media_type: str
    name: str
    size: int | None
    digest: str
    rows: int | None
    cut: bool
    pieces: AsyncGenerator[bytes, None]


class Puller(Protocol):
    """One way in which a body is pulled with a grant: over HTTP or over the presigned subject."""

    async def look(self, address: str, sample: int) -> Look:
        """How much `address` shows, and its first `sample` rows; no use is claimed for it.

        Raises:
            GrantError, SelectorError, BrokerUnavailableError, UntrustedHostError.
        """

    def pull(self, address: str, selector: Selector) -> AbstractAsyncContextManager[Incoming]:
        """Open `address` (a resource_url, or a presigned subject) and pull what `selector` names.

        Leaving it after the last piece confirms the delivery; leaving it earlier gives the use back.

        Raises:
            GrantError, SelectorError, BrokerUnavailableError, TransferInterruptedError, UntrustedHostError.
        """
