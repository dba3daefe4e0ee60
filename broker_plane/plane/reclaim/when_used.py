"""Deletes a body after the last confirmation of its last grant, if its publisher requested that.

Marks are written in the background, all that are pending in one write. If a mark is lost in a crash, or because the
broker was unavailable for too long, the body stays until it expires.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import ceil

from broker_plane.errors import BodyNotFoundError, BrokerPlaneError
from broker_plane.plane.audit import Auditor
from broker_plane.plane.ports import BodyStore, EntryStore
from broker_plane.plane.reclaim.when_used_record import (
    UseRecord,
    grant_ids,
    new_use_record,
    unpack_use_record,
    with_done,
    with_grants,
)
from broker_plane.plane.retry import compare_and_set, retry_while_retryable
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.grant import Grant
from broker_plane.wire.names import BodyId

_PATIENCE_SECONDS = 10.0
_CLOSE_SECONDS = 2.0
_REMEMBER_SECONDS = 120


class UsedBodyCollector:
    """The records of bodies that are deleted when they are used up."""

    def __init__(
        self,
        states: EntryStore,
        store: BodyStore,
        audit: Auditor,
        *,
        now: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.freed = 0
        """The number of bodies that this process deleted."""
        self._states = states
        self._store = store
        self._audit = audit
        self._now = now
        self._random = random_bytes
        self._done: dict[BodyId, set[bytes]] = {}
        self._task: asyncio.Task[None] | None = None

    async def begin(self, body: BodyInfo) -> None:
        """Start the record of a body that was just published."""
        record = new_use_record(body.owner, body.expires, self._random(16))
        await self._states.save(body.id, record.pack(), 0, self._ttl(record))

    async def reserve(self, body: BodyInfo, count: int, *, unlimited: bool) -> list[bytes]:
        """The ids of `count` more grants; empty if the record is missing, in which case the body is never deleted
        early.

        Raises:
            BodyNotFoundError: the body was deleted.
            TooLargeError: it has too many grants.
        """
        record = await self._change(body.id, partial(with_grants, count=count, unlimited=unlimited))
        return grant_ids(record, count) if record else []

    def mark(self, grant: Grant) -> None:
        """`grant` is used up, or revoked. Never waits."""
        self._done.setdefault(grant.body, set()).add(grant.grant_id)
        if self._task is None:
            self._task = asyncio.create_task(self._marking())

    async def close(self) -> None:
        """Write pending marks, within a short time."""
        task = self._task
        if task is not None:
            await asyncio.wait({task}, timeout=_CLOSE_SECONDS)
            await cancel_and_forget(task)

    async def _marking(self) -> None:
        while self._done:
            body_id, ids = self._done.popitem()
            with suppress(BrokerPlaneError):
                await retry_while_retryable(partial(self._write, body_id, ids), _PATIENCE_SECONDS)
        self._task = None

    async def _write(self, body_id: BodyId, ids: set[bytes]) -> None:
        record = await self._change(body_id, partial(with_done, ids=ids))
        if record is None or not record.freed:
            return
        with suppress(BodyNotFoundError):  # a retry, or the body was deleted by hand
            await self._store.delete(record.owner, body_id)
            self.freed += 1
            self._audit.note_body("collected", body_id)

    async def _change(self, body_id: BodyId, change: Callable[[UseRecord], UseRecord]) -> UseRecord | None:
        """Change the record; None if there is none."""

        async def load() -> tuple[UseRecord | None, int]:
            raw, revision = await self._states.load(body_id)
            return None if raw is None else unpack_use_record(raw), revision

        async def save(record: UseRecord | None, revision: int) -> None:
            if record is not None:
                await self._states.save(body_id, record.pack(), revision, self._ttl(record))

        return await compare_and_set(
            load,
            lambda record: None if record is None else change(record),
            save,
            busy="Too many readers of this body at once; try again",
        )

    def _ttl(self, record: UseRecord) -> int:
        return max(1, ceil(record.expires - self._now())) + _REMEMBER_SECONDS
