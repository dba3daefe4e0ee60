"""The door to pycrdt: documents are made, changed and read here, and its errors become ours."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from pycrdt import Doc, TransactionEvent

from broker_plane.errors import ChangeError

ROOT = "artifact"
"""The name of the shared type that holds the artifact."""

CREATOR = 1
"""The client that inserts the value of a new session: the same in every process, so that all get the same document."""

MOST_PIECES = 4_000
"""An edit of more pieces replaces the whole of what it changes: the time of single steps grows with their square, and a
document is edited on the event loop."""

MOST_PLAIN = 5_000
"""Numbers and texts in the lists that one edit of ours inserts."""

YDoc = Doc[Any]


def new_document(client: int | None = None, update: bytes = b"") -> YDoc:
    """A document, with an update applied, for any thread, one at a time. Raises ChangeError as `apply_update` does."""
    doc: YDoc = Doc(client_id=client, allow_multithreading=True)
    if update:
        apply_update(doc, update)
    return doc


def apply_update(doc: YDoc, update: bytes) -> None:
    """Apply an update. After a ChangeError the document must not be used any more."""
    try:
        doc.apply_update(update)
    except BaseException as error:
        # A panic in Rust arrives as a PanicException, which is no Exception and has no public name.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise ChangeError(
                "The update cannot be applied to the document of this session", reason=str(error)
            ) from error
        raise


def update_of(doc: YDoc, edit: Callable[[], None]) -> bytes:
    """The update that an edit of the document makes; empty if it changes nothing."""
    updates: list[bytes] = []

    def keep(event: TransactionEvent) -> None:
        updates.append(event.update)

    subscription = doc.observe(keep)
    try:
        with doc.transaction():
            edit()
    finally:
        doc.unobserve(subscription)
    return updates[0] if updates else b""


class Author:
    """The client that the updates of this process come from. The copies of a replica share it.

    A client must never give one clock to two changes that are both kept: Yjs would take the second one for known. So
    when a change that it made is not in the document, because it was not stored or is a proposal, it gets another id.
    """

    def __init__(self) -> None:
        self.client = secrets.randbits(32)
        self._issued = 0

    def renew(self, known: int) -> None:
        """Take a new id unless the document has all clocks that were used; it has those before `known`."""
        if known != self._issued:
            self.client, self._issued = secrets.randbits(32), 0

    def issue(self, clock: int) -> None:
        """Remember that all clocks before `clock` are used."""
        self._issued = clock
