"""The port of replicas: the artifact at one revision, and what its sync protocol does with changes."""

from __future__ import annotations

from typing import Any, Literal, Protocol, Self

from broker_plane.sessions.text_ops import Op

ArtifactKind = Literal["text", "json", "table"]
Sync = Literal["crdt", "patch", "ot"]

Value = Any
"""An artifact as a Python value: str for a text, any JSON value, a list of dicts for a table."""

Change = Any
"""A change as its log entry has it, relative to the artifact just before that entry.

- `crdt`: bytes, an update of Yjs, version 1
- `ot`, and `patch` of a text: a list of components of ot-text-unicode (json1's sibling): a number skips that many
  code points, a string is inserted, `{"d": "text"}` deletes exactly this text
- `patch` of JSON and of tables: a list of operations of JSON Patch (RFC 6902)
"""


class Replica(Protocol):
    """An artifact. `check` changes nothing; `apply` changes all or nothing."""

    kind: ArtifactKind
    sync: Sync

    @property
    def value(self) -> Value:
        """The artifact now."""

    @property
    def size(self) -> int:
        """Its size in bytes: of a text in UTF-8, else as JSON without spaces; for `crdt` of the encoded document."""

    def check(self, change: Change, limit: int) -> None:
        """Find out whether `change` can be applied now.

        Raises:
            ChangeError: it cannot be decoded, or does not fit the artifact.
            TooLargeError: the artifact would be larger than `limit` bytes.
        """

    def apply(self, change: Change) -> None:
        """Apply a change. Raises ChangeError, and then nothing has changed."""

    def change_to(self, value: Value) -> Change | None:
        """The smallest change after which the artifact is `value`; None if it is that already."""

    def change_for(self, edit: Change) -> Change:
        """The change that does what `edit` does.

        `edit` comes from `edits.edit_change` or `merging.merge`, and applies to `value`. For `crdt` the answer is an
        update, which is empty if it would change nothing. Otherwise it is `edit` itself.

        Raises:
            ChangeError: it does not fit the artifact.
        """

    def copy(self) -> Self:
        """An independent replica with the same state."""

    def pack(self) -> bytes:
        """The state as bytes, for a snapshot; `replicas.unpack` reads it."""


class Movable(Replica, Protocol):
    """The replica of a text."""

    def moved(self, change: Change) -> Op:
        """The operation of `text_ops` that `change` amounts to, before it is applied; `carry` moves anchors by it.

        Raises:
            ChangeError: it cannot be applied.
        """


class OfClients(Replica, Protocol):
    """The replica of an artifact of `crdt`."""

    def clients(self, change: Change, *, new: bool = False) -> frozenset[int]:
        """The Yjs client ids whose insertions `change` has; with `new`, only those whose insertions are not known yet.

        Raises:
            ChangeError: it cannot be applied.
        """
