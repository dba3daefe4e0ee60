"""A live Yjs document of a session whose sync protocol is `crdt`.

pycrdt counts the positions of a text in UTF-8 bytes; `splice` counts code points, as the rest of this API does.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pycrdt import Array, Doc, Map, Text, merge_updates

from broker_plane.errors import BrokerPlaneError, ChangeError, NotValidError, WireError
from broker_plane.sessions.entries import Entry
from broker_plane.sessions.replicas.factory import new_replica
from broker_plane.sessions.replicas.port import ArtifactKind
from broker_plane.wire.exact_json import loads

ARTIFACT = "artifact"
"""The name of the shared type; Yjs clients use it as well."""

_TYPES = {"text": Text, "json": Map, "table": Array}
_REMOTE = "broker_plane.session"
"""The origin of transactions that apply entries of the session: they are not sent again."""

_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.1, 2.0

Ask = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Sends an `update` request."""


class SessionDocument(Doc[Any]):
    """A pycrdt document that follows a session, and sends local changes to it.

    It is empty until it has read the session; `await document.synchronized()` waits for that. A local change is sent
    after its transaction. Use it in the thread of its event loop only.
    """

    def __init__(self, kind: ArtifactKind, ask: Ask | None) -> None:
        """`ask` is None for a participant that may not edit: then local changes are refused by `synchronized`."""
        super().__init__()
        self._kind = kind
        self._ask = ask
        self._unsent: list[bytes] = []
        self._sending = False
        self._loaded = False
        self._revision = 0
        self._changed = asyncio.Event()
        self._reverted: BrokerPlaneError | None = None
        self.error: BrokerPlaneError | None = None
        """Why a local change was refused, if one was: the document differs from the session then, and sends no more."""
        self.artifact: Any = self.get(ARTIFACT, type=_TYPES[kind])
        """The shared Text, Map or Array of maps."""
        self._observer = self.observe(self._on_change)

    @property
    def value(self) -> Any:
        """The artifact as a Python value."""
        # The JSON of pycrdt has whole numbers as such; its objects have floats.
        return str(self.artifact) if isinstance(self.artifact, Text) else loads(str(self.artifact))

    @property
    def revision(self) -> int:
        """The last revision of the session that this document has."""
        return self._revision

    def splice(self, start: int, end: int, text: str) -> None:
        """Replace the code points from `start` to `end` of a text by `text`.

        Raises:
            WireError: the artifact is not a text, or has no such positions.
        """
        if not isinstance(self.artifact, Text):
            raise WireError("Only a text has positions; use the document's artifact for JSON and tables")
        before = str(self.artifact)
        if not 0 <= start <= end <= len(before):
            raise WireError(f"The region is outside the text, which has {len(before)} code points")
        first, last = byte_offset(before, start), byte_offset(before, end)
        with self.transaction():
            if last > first:
                del self.artifact[first:last]
            if text:
                self.artifact.insert(first, text)

    async def synchronized(self) -> None:
        """Wait until the document has read the session, and the session has stored every local change.

        Raises:
            NotValidError: a validator refused a local change. It was reverted here as well, and the document goes on.
            BrokerPlaneError: a local change was refused, and is only here: `session.document()` makes a new document.
        """
        while not self._loaded or self._unsent or self._sending:
            if self.error is not None:
                break
            changed = self._changed
            await changed.wait()
        reverted, self._reverted = self._reverted, None
        if (error := self.error or reverted) is not None:
            raise error

    async def take(self, entry: Entry) -> None:
        """Apply the entry after `revision`. Raises ChangeError if its change does not decode."""
        raw = self._first(entry) if entry.kind == "created" else entry.content.get("change")
        while isinstance(raw, bytes):
            try:
                with self.transaction(origin=_REMOTE):
                    error = _problem(self, raw)
            except RuntimeError:  # a task waits within a transaction of its own
                async with self.new_transaction():
                    continue
            if error is not None:
                raise error
            break
        self._revision = entry.revision

    def _first(self, entry: Entry) -> bytes:
        """The update that makes the artifact of a new session: it is the same in every process."""
        replica = new_replica(self._kind, "crdt", entry.content.get("value"))
        return replica.pack()

    def loaded(self) -> None:
        """Called when everything that the session had when it was read is applied."""
        self._loaded = True
        self._notify()

    def fail(self, error: BrokerPlaneError) -> None:
        """Called when the document cannot follow the session any more."""
        self.error = self.error or error
        self._notify()

    async def send_changes(self) -> None:
        """Send local changes as they come, several in one request while one is under way. Never ends."""
        while True:
            if not self._unsent or self.error is not None or not self._loaded:
                changed = self._changed
                await changed.wait()
                continue
            update = merge_updates(*self._unsent)
            self._unsent.clear()
            self._sending = True
            try:
                await self._send(update)
            except NotValidError as error:
                self._reverted = error
            except BrokerPlaneError as error:
                self.fail(error)
            finally:
                self._sending = False
                self._notify()

    async def _send(self, update: bytes) -> None:
        """Send one update, again and again while the error is one that passes: Yjs applies an update once."""
        if self._ask is None:
            raise WireError("This participant may not edit, so that its local changes are not sent")
        fields = {"change": b64encode(update).decode(), "base": self._revision or None}
        wait = _FIRST_WAIT_SECONDS
        while True:
            try:
                await self._ask(fields)
                return
            except BrokerPlaneError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(max(wait, error.retry_after or 0))
                wait = min(2 * wait, _LONGEST_WAIT_SECONDS)

    def _on_change(self, event: Any) -> None:
        if event.transaction.origin() != hash(_REMOTE):
            self._unsent.append(event.update)
            self._notify()

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def byte_offset(text: str, position: int) -> int:
    """The offset in UTF-8 bytes, which pycrdt counts, of a position in code points."""
    return len(text[:position].encode())


def code_point(text: str, offset: int) -> int:
    """The position in code points of an offset in UTF-8 bytes. Raises WireError within a character."""
    try:
        return len(text.encode()[:offset].decode())
    except UnicodeDecodeError as error:
        raise WireError("The offset is within a character") from error


def _problem(doc: SessionDocument, update: bytes) -> ChangeError | None:
    """Apply an update, and return what was wrong with it; raising would take the transaction's errors along."""
    try:
        doc.apply_update(update)
    except (ValueError, RuntimeError) as error:
        return ChangeError("A change of this session is not an update of Yjs", reason=repr(error))
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # pycrdt's, which is no Exception
            raise
        return ChangeError("A change of this session is not an update of Yjs", reason=repr(error))
    return None
