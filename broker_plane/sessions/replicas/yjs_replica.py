"""What the replicas of `crdt` share: a document of Yjs, and a second one on which every change is tried first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self

from broker_plane.errors import ChangeError, TooLargeError, WireError
from broker_plane.sessions.replicas.port import ArtifactKind, Change, Sync, Value
from broker_plane.sessions.replicas.yjs_contents import Contents
from broker_plane.sessions.replicas.yjs_documents import Author, YDoc, apply_update, new_document, update_of
from broker_plane.sessions.replicas.yjs_limits import read_bounded
from broker_plane.wire.yjs_updates import Struct, Update, read_update


class YjsReplica(ABC):
    """An artifact in a document of Yjs. Changes are updates of version 1.

    `check` reads the update by itself before yrs sees it, then applies it to a trial document. The live document so
    never has half of a change, and `apply` of a change that was checked does not fail.
    """

    kind: ArtifactKind
    sync: Sync = "crdt"

    def __init__(self, update: bytes, author: Author | None = None) -> None:
        self._doc = new_document(update=update)
        self._author = author or Author()
        self._contents: Contents | None = None
        self._trial: YDoc | None = None
        self._tried: tuple[bytes, Update] | None = None
        """The change that the trial document is ahead by."""
        self._events: list[Any] = []
        """What was observed in the trial document while that change was applied."""
        self._watching: object = None
        self._size: int | None = None
        self._size_bound: int | None = None
        self._value: Value = None

    @abstractmethod
    def _read(self, doc: YDoc) -> Value:
        """The artifact in a document."""

    @abstractmethod
    def _check_struct(self, struct: Struct) -> None:
        """Raise ChangeError for content that this kind of artifact cannot have."""

    @abstractmethod
    def _watch(self, doc: YDoc) -> object:
        """Observe a new trial document, into `_events`. The subscription, which ends when it is dropped."""

    @abstractmethod
    def _check_update(self, update: Update) -> None:
        """Raise ChangeError for an update that must not get into a document of this kind."""

    @abstractmethod
    def _check_trial(self, doc: YDoc) -> None:
        """Raise ChangeError if the trial document, after the change, is no artifact of this kind."""

    @abstractmethod
    def _applied(self) -> None:
        """The change that was tried has been applied."""

    @abstractmethod
    def _same(self, update: bytes) -> Self:
        """A replica of the same kind and with the same author, in another state."""

    @abstractmethod
    def _edit(self, doc: YDoc, edit: Change) -> None:
        """Do in a document what the change `edit` of `edits.edit_change` does."""

    @abstractmethod
    def _edit_to(self, value: Value) -> Change:
        """The change, as `edits.edit_change` makes them, after which the artifact is `value`."""

    @property
    def value(self) -> Value:
        if self._value is None:
            self._value = self._read(self._doc)
        return self._value

    @property
    def size(self) -> int:
        if self._size is None:
            self._size = self._size_bound = len(self._doc.get_update())
        return self._size

    def check(self, change: Change, limit: int) -> None:
        self._try(change, read_bounded)
        # Updates add up to more than the document that they lead to, so most changes need no exact size.
        bound = (self._size_bound if self._size_bound is not None else self.size) + len(change)
        if bound > limit and self._trial is not None:
            exact = len(self._trial.get_update())
            if exact > limit and exact > self.size:
                raise TooLargeError(f"The document would have {exact} bytes; this session allows {limit}")

    def apply(self, change: Change) -> None:
        update = self._try(change)
        apply_update(self._doc, change)
        self._known().add(update)
        self._tried = self._size = self._value = None
        self._applied()
        if self._size_bound is not None:
            self._size_bound += len(change)

    def clients(self, change: Change, *, new: bool = False) -> frozenset[int]:
        update, known = self._try(change), self._known()
        return frozenset(
            each.client
            for each in update.structs
            if each.kind != "skip" and not (new and each.clock + each.length <= known.clock(each.client))
        )

    def change_to(self, value: Value) -> Change | None:
        edit = self._edit_to(value)
        return (self.change_for(edit) or None) if edit else None

    def change_for(self, edit: Change) -> Change:
        doc = self._trial_for_edit()
        self._events.clear()
        try:
            change = update_of(doc, lambda: self._edit(doc, edit))
            update = read_update(change) if change else Update((), ())
            self._check_update(update)
            self._check_trial(doc)
        except BaseException:
            self._trial = None
            raise
        if change:
            self._tried = change, update
            self._author.issue(max((each.clock + each.length for each in update.structs), default=self._issued()))
        return change

    def copy(self) -> Self:
        replica = self._same(self.pack())
        replica._contents = self._contents.copy() if self._contents else None
        replica._size, replica._size_bound = self._size, self._size_bound
        return replica

    def pack(self) -> bytes:
        return self._doc.get_update()

    def _known(self) -> Contents:
        if self._contents is None:
            self._contents = Contents.of(self._doc.get_update(), self._doc.get_state())
        return self._contents

    def _issued(self) -> int:
        return self._known().clock(self._author.client)

    def _try(self, change: Any, read: Callable[[bytes], Update] = read_update) -> Update:
        """Apply a change to the trial document, unless that has been done. Raises ChangeError, and as `read`."""
        if not isinstance(change, bytes):
            raise ChangeError("A change of a crdt session is an update of Yjs, as bytes")
        if self._tried is not None and self._tried[0] == change:
            return self._tried[1]
        update = self._parsed(change, read)
        doc = self._trial_document()
        self._events.clear()
        try:
            apply_update(doc, change)
            self._check_trial(doc)
        except BaseException:
            self._trial = None
            raise
        self._tried = change, update
        return update

    def _parsed(self, change: bytes, read: Callable[[bytes], Update]) -> Update:
        try:
            update = read(change)
        except TooLargeError:
            raise
        except WireError as error:
            raise ChangeError(f"The update cannot be decoded: {error}") from error
        for struct in update.structs:
            self._check_struct(struct)
        self._known().check(update)
        self._check_update(update)
        return update

    def _trial_document(self) -> YDoc:
        """The trial document, at the same revision as the live one."""
        if self._trial is None or self._tried is not None:
            self._trial = new_document(self._author.client, self.pack())
            self._tried = None
            self._watching = self._watch(self._trial)
        return self._trial

    def _trial_for_edit(self) -> YDoc:
        """The trial document with an author whose next clock is unused."""
        self._author.renew(self._issued())
        if self._trial is not None and self._trial.client_id != self._author.client:
            self._trial = None
        return self._trial_document()
