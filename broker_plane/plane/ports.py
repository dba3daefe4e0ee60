"""The ports: what the plane needs of a broker and of files. storage/, files/, client/ and subjects/ have the
adapters.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from broker_plane.wire.body import BodyInfo, TablePlace
from broker_plane.wire.grant import Key
from broker_plane.wire.names import BodyId

if TYPE_CHECKING:
    from broker_plane.wire.audit import AuditEntry
    from broker_plane.wire.preview import Preview
    from broker_plane.wire.selector import Selector


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is known of a body before its first byte. `created` and `expires` are in unix seconds."""

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
    table: TablePlace | None = None


class BodyWriter(Protocol):
    """Writes a body, which is not visible before `commit`."""

    async def write(self, piece: bytes) -> None:
        """Write the next bytes; waits while too many are unacknowledged (back-pressure).

        Raises:
            StoreFullError, BrokerUnavailableError, TooLargeError: nothing of the body will be kept.
        """

    async def commit(self, shape: Shape) -> BodyInfo:
        """Make the body readable: it is then acknowledged, and as durable as the broker is.

        Raises:
            BrokerUnavailableError: whether it is readable is unknown; if so, all of it is.
            ConflictError, StoreFullError, StorageError: nothing of the body will be kept.
        """


class BodyStore(Protocol):
    """Immutable bodies, by owner and id."""

    def writer(self, draft: Draft) -> AbstractAsyncContextManager[BodyWriter]:
        """A writer; leaving it without a commit removes what was written."""

    async def info(self, owner: str, body_id: BodyId) -> BodyInfo:
        """The metadata of a body.

        Raises:
            BodyNotFoundError: there is none, or no longer.
        """

    def read(self, body: BodyInfo, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the stored bytes from `start` to `stop`. A completed iteration of the whole body is a verified read.

        Raises:
            BodyLostError: bytes are missing or changed; when reading the whole body, before the last piece is yielded.
        """

    def held(self, body: BodyInfo) -> bytes | None:
        """All of a small body, verified, if it is in this process's memory."""

    def list(self, owner: str) -> AsyncIterator[BodyInfo]:
        """Every committed body of `owner`, oldest first."""

    async def delete(self, owner: str, body_id: BodyId) -> None:
        """Delete a body and free its bytes at once.

        Raises:
            BodyNotFoundError: there is none.
        """


class EntryStore(Protocol):
    """State entries, by key, changed by compare-and-set only."""

    async def load(self, grant_id: str) -> tuple[bytes | None, int]:
        """The entry and its revision; `(None, 0)` if there is none."""

    async def save(self, key: str, entry: bytes, revision: int, ttl_seconds: int, *, passing: bool = False) -> int:
        """Write the entry if its revision is still `revision`, and return the new revision.

        A `passing` entry is expected to change again soon, so that a second copy of it may be late.

        Raises:
            ConflictError: the revision has changed. After any other error the outcome is unknown: load again.
        """


class Bucket(Protocol):
    """Named entries of one kind, changed by compare-and-set. A name is tokens of A-Z, a-z, 0-9, _ and -, with dots."""

    async def load(self, name: str) -> tuple[bytes | None, int]:
        """The entry and its revision; None if there is none. The revision is what `save` and `delete` expect."""

    async def save(self, name: str, entry: bytes, revision: int, ttl_seconds: int = 0) -> int:
        """Write the entry if its revision is still `revision`, and return the new one. With a TTL it expires.

        Raises:
            ConflictError: the revision has changed. StoreFullError, BrokerUnavailableError.
        """

    async def delete(self, name: str, revision: int) -> None:
        """Delete the entry if its revision is still `revision`. Raises as `save`."""

    def entries(self, pattern: str = ">") -> AsyncGenerator[tuple[str, bytes, int], None]:
        """(name, entry, revision) of all whose name matches the subject pattern, in the order of their last change."""

    async def changed(self, name: str, revision: int, seconds: float) -> tuple[bytes | None, int]:
        """Wait until the revision is no longer `revision`, at most `seconds`, and load."""


class AuditLog(Protocol):
    """The audit log: entries of each process are kept in order."""

    dropped: int
    """The number of lost entries."""

    def note(self, entry: AuditEntry) -> None:
        """Accept an entry, which is written within a second. Never blocks or fails."""

    def read(self) -> AsyncGenerator[AuditEntry, None]:
        """Every stored entry."""


class Keys(Protocol):
    """Owners' keys (docs/decisions/0021): the first key of a ring seals, all of them open."""

    async def sealing(self) -> Key:
        """The key that seals this owner's grants."""

    async def opening(self, key_id: bytes) -> list[tuple[str, Key]]:
        """Every owner's key with this id, with the owner's name; empty for an unknown id."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong while the broker answers. `code` is for programs, `detail` says what to do.

    If it `stops` the bridge, nothing new can be stored, or grants cannot be opened.
    """

    code: Literal["disk_full", "store_full", "bucket_full", "clock_skew", "keys_lost"]
    detail: str
    stops: bool


@dataclass(frozen=True, slots=True)
class Readiness:
    """The broker answers. `durability` says what an acknowledgement means; `stored_bytes` is the size of all bodies."""

    durability: str
    stored_bytes: int
    troubles: tuple[Trouble, ...] = ()
    skew_seconds: float = 0.0
    """How far this host's wall clock is ahead of nats-server's."""


class Broker(Protocol):
    """The broker as a whole."""

    async def ready(self) -> Readiness:
        """Check the broker, within a second.

        Raises:
            BrokerUnavailableError: it does not answer.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A body that is being pulled. `pieces` are its stored bytes, or frames cut to the selector if `cut` is True.

    A completed iteration of `pieces` of a whole body is a verified read: size and SHA-256 are right. Without a `digest`
    the pieces are a part of the body, by the selector or by the grant, and each frame is verified when it is decoded.
    """

    kind: Literal["rows", "bytes"]
    media_type: str
    name: str
    size: int | None
    digest: str
    rows: int | None
    cut: bool
    pieces: AsyncGenerator[bytes, None]


class BodyTarget(Protocol):
    """Receives the pieces of a body. Without a `commit` a file stays as it was, and a stream lacks its end."""

    @property
    def stream(self) -> bool:
        """Whether this is not a regular file: what was written to it cannot be taken back."""

    def write(self, piece: bytes, /) -> int: ...

    def commit(self) -> None:
        """Everything that was written is verified."""


class SourceFiles(Protocol):
    """Files that are published."""

    async def size(self, path: Path) -> int:
        """The size of the file in bytes."""

    def read(self, path: Path) -> AsyncGenerator[bytes, None]:
        """The content of the file."""


class Puller(Protocol):
    """A way to pull a body with a grant: over HTTP or over the presigned subject."""

    async def look(self, address: str, sample: int) -> Preview:
        """The row count, the columns and the first `sample` rows of `address`. It takes no use of the grant.

        Raises:
            GrantError, SelectorError, BrokerUnavailableError, UntrustedHostError.
        """

    def pull(self, address: str, selector: Selector) -> AbstractAsyncContextManager[Incoming]:
        """Open `address` (a resource_url or a presigned subject) and pull what `selector` names.

        Leaving the block after the last piece confirms the delivery; leaving it earlier gives the use back.

        Raises:
            GrantError, SelectorError, BrokerUnavailableError, TransferInterruptedError, UntrustedHostError.
        """
