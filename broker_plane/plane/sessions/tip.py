"""The newest revision of a session in one process, with what was decided on top of it and is not stored yet."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Final, Self

from broker_plane.errors import SessionError, SessionNotFoundError, WireError
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.plane.sessions.past import RecentPast
from broker_plane.plane.sessions.ports import Group, SessionLog
from broker_plane.plane.sessions.replaying import LARGE_BYTES, first_folded
from broker_plane.sessions.entries import Entry, pack_entries
from broker_plane.sessions.folded import Folded, unpack_state
from broker_plane.sessions.state import SessionState

log = redacted_logger(__name__)

_AT_ONCE: Final = 32
_FOLLOWED: Final = 64


class Tip:
    """State and replica after all stored entries and the drafts.

    Drafts are folded at once, so that the next request is decided on them, and taken back if they are not stored. A
    document of `crdt` cannot forget a change: it stays `ahead` until that change is stored after all. Then an update
    finds itself there already, which changes nothing; whatever else is decided needs a document that is not ahead.
    """

    def __init__(self, session: str, log: SessionLog, folded: Folded, sequence: int) -> None:
        self.folded = folded
        self.sequence = sequence
        """Of the newest stored group."""
        self.state: SessionState = folded.state
        """After the newest stored group."""
        self.past = RecentPast(log, session, folded.state.revision)
        self.on_stored: Callable[[Group], None] | None = None
        """Called with each group once it is folded."""
        self._session = session
        self._log = log
        self.is_spoiled = False
        """Whether folding a draft failed midway, so that nothing can be decided before `rebuild`."""
        self._before: Folded | None = None
        self._ahead: list[object] = []
        self._followed: OrderedDict[int, Group] = OrderedDict()

    @classmethod
    async def load(cls, session: str, log: SessionLog) -> Self:
        """Read a session from its snapshot and the log after it, or from the whole log.

        Raises:
            SessionNotFoundError: there is none, or it has expired.
            SessionError: its log cannot be read.
        """
        folded, sequence = await _snapshot(session, log)
        tip = None if folded is None else cls(session, log, folded, sequence)
        count = 0
        async with aclosing(log.read(session, sequence)) as groups:
            async for group in groups:
                if tip is None:
                    tip = cls(session, log, await first_folded(group.entries), group.sequence)
                    tip.past = RecentPast(log, session, 0)
                    tip.past.add(group)
                else:
                    tip.take(group)
                count += len(group.entries)
                if count >= _AT_ONCE:
                    count = 0
                    await asyncio.sleep(0)
        if tip is None:
            raise SessionNotFoundError("There is no such session any more: it has expired, or it never existed")
        return tip

    @property
    def drafts(self) -> Sequence[Entry]:
        """The entries that were decided and are not stored yet."""
        return self.past.drafts

    @property
    def is_ahead(self) -> bool:
        """Whether the document has changes that are neither stored nor among the drafts."""
        return bool(self._ahead) or self.is_spoiled

    def draft(self, entries: Sequence[Entry]) -> None:
        """Fold entries that are about to be stored. After an error all drafts are taken back."""
        if not entries:  # a copy of the state would outlive what other processes store meanwhile
            return
        if self._before is None and self.state.sync != "crdt":
            self._before = self.folded.copy()
        for entry in entries:
            try:
                self.folded.fold(entry)
            except BaseException:
                self.is_spoiled = self.state.sync == "crdt"
                self.take_back()
                raise
            self.past.drafts.append(entry)

    def take_back(self) -> None:
        """Forget the drafts: they are not stored."""
        if self._before is not None:
            self.folded, self._before = self._before, None
        else:
            self.folded.state = self.state
            self._ahead += [entry.change for entry in self.past.drafts if entry.change is not None]
        self.past.drafts.clear()

    def confirm(self, group: Group) -> None:
        """The drafts are stored, as `group`."""
        self.past.drafts.clear()
        self._before = None
        self._stored(group)

    def take(self, group: Group) -> bool:
        """Fold a group of the log, while there are no drafts; False if it was known already.

        Raises:
            SessionError: it does not follow; the session has to be loaded again.
        """
        if group.sequence <= self.sequence:
            return False
        for entry in group.entries:
            self.folded.fold(entry)
        self._stored(group)
        return True

    async def catch_up(self) -> None:
        """Fold what was stored meanwhile. Raises as `SessionLog.read` and `take`."""
        async with aclosing(self._log.read(self._session, self.sequence)) as groups:
            async for group in groups:
                self.take(group)

    def has(self, entries: Sequence[Entry], after: int) -> bool:
        """Whether exactly these entries are the group that follows the sequence `after`."""
        found = self._followed.get(after)
        return found is not None and pack_entries(found.entries) == pack_entries(entries)

    async def rebuild(self) -> None:
        """Forget changes that the document is ahead by: read it from snapshot and log. Only without drafts.

        Raises as `load` and `catch_up`.
        """
        while True:
            fresh = await type(self).load(self._session, self._log)
            if fresh.sequence == self.sequence:
                self.folded, self.state = fresh.folded, fresh.state
                self._ahead.clear()
                self.is_spoiled = False
                return
            await self.catch_up()

    def _stored(self, group: Group) -> None:
        self._followed[self.sequence] = group
        if len(self._followed) > _FOLLOWED:
            self._followed.popitem(last=False)
        self.sequence = group.sequence
        self.state = self.folded.state
        self.past.add(group)
        if self._ahead:
            stored = [entry.change for entry in group.entries]
            self._ahead = [change for change in self._ahead if change not in stored]
        if self.on_stored is not None:
            self.on_stored(group)


async def _snapshot(session: str, store: SessionLog) -> tuple[Folded | None, int]:
    snapshot = await store.load_snapshot(session)
    if snapshot is None:
        return None, 0
    try:
        if len(snapshot.raw) > LARGE_BYTES:
            return await asyncio.to_thread(unpack_state, snapshot.raw), snapshot.sequence
        return unpack_state(snapshot.raw), snapshot.sequence
    except (WireError, SessionError) as error:
        log.warning("A snapshot of a session cannot be used (%s); its log is read from the start", error.brief)
        return None, 0
