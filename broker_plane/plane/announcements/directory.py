"""Announces agents, and finds those that are announced.

An entry is named `<agent id>.<instance>`. The instance is random and belongs to one process, so two processes that
announce the same agent never write to the same entry, and each one's is gone after its own TTL.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import anyio

from broker_plane.errors import BrokerPlaneError, ConflictError, EntryNotFoundError, RegistryError
from broker_plane.plane.ports import Bucket
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.registry.agent_search import AgentQuery, FoundAgent, matched
from broker_plane.registry.announcement import (
    MAX_ENTRY_BYTES,
    AgentAnnouncement,
    AgentProfile,
    announcement_of,
    is_agent_id,
    parse_announcement,
)
from broker_plane.wire.exact_json import dumps
from broker_plane.wire.urls import quoted

log = redacted_logger(__name__)

MAX_FOUND = 1_000
_MAX_READ = 20_000
"""A search reads no more entries than this, whoever wrote them."""

_BEATS = 3
"""Heartbeats in one TTL."""

_REMOVE_SECONDS = 2.0
_SKEW_SECONDS = 60.0
"""An announcement that was seen later than this from now has a forged time, and would never end."""


@dataclass(frozen=True, slots=True)
class AgentSearchResult:
    """What was found, by agent id. `more` says that there are others; `unreadable` counts entries of another form."""

    found: Sequence[FoundAgent] = ()
    more: bool = False
    unreadable: int = 0


@dataclass(slots=True)
class _Entry:
    """The entry of an announcement of this process, and its revision."""

    name: str
    revision: int = 0


class AgentDirectory:
    """The announcements in one bucket. `now` is nats-server's time in unix seconds."""

    def __init__(self, bucket: Bucket, *, now: Callable[[], float]) -> None:
        self._bucket = bucket
        self._now = now

    @asynccontextmanager
    async def announced(self, profile: AgentProfile, instance: str) -> AsyncIterator[AgentAnnouncement]:
        """The agent is found during the block, and no longer at its end; if this process dies, after `profile.ttl`.

        Raises:
            StoreFullError, BrokerUnavailableError: it could not be announced.
        """
        entry = _Entry(f"{profile.agent_id}.{instance}")
        began = self._now()
        announcement = await self._write(entry, profile, instance, began)
        beating = asyncio.create_task(self._beat(entry, profile, instance, began))
        try:
            yield announcement
        finally:
            await cancel_and_forget(beating)
            await self._remove(entry)

    async def search(self, query: AgentQuery, limit: int) -> AgentSearchResult:
        """The first `limit` announcements that match, by agent id and instance. No endpoint is contacted.

        Entries that are not announcements, of whatever origin, are counted and left out.
        """
        if not 1 <= limit <= MAX_FOUND:
            raise RegistryError(f"A search returns 1 to {MAX_FOUND} agents")
        found: list[FoundAgent] = []
        read = unreadable = matches = 0
        now = self._now()
        async with aclosing(self._bucket.entries()) as entries:
            async for name, raw, _ in entries:
                read += 1
                if read > _MAX_READ:
                    break
                announcement = _readable(name, raw, now)
                if announcement is None:
                    unreadable += 1
                elif announcement.alive(now) and (match := matched(query, announcement)):
                    matches += 1
                    found.append(match)
                    if len(found) >= 2 * MAX_FOUND:  # memory is bounded as well
                        found = _first(found, limit)
        return AgentSearchResult(_first(found, limit), matches > limit or read > _MAX_READ, unreadable)

    async def get(self, agent_id: str) -> list[AgentAnnouncement]:
        """The announcements of one agent, one for each process that announces it.

        Raises:
            EntryNotFoundError: nobody announces it.
        """
        found: list[AgentAnnouncement] = []
        if is_agent_id(agent_id):
            now = self._now()
            async with aclosing(self._bucket.entries(f"{agent_id}.*")) as entries:
                async for name, raw, _ in entries:
                    announcement = _readable(name, raw, now)
                    if announcement is not None and announcement.alive(now) and len(found) < MAX_FOUND:
                        found.append(announcement)
        if not found:
            raise EntryNotFoundError(
                f"No agent {quoted(agent_id)} is announced; `broker-plane agents search` lists those that are"
            )
        return sorted(found, key=lambda each: each.instance)

    async def _beat(self, entry: _Entry, profile: AgentProfile, instance: str, began: float) -> None:
        failing = False
        while True:
            await asyncio.sleep(profile.ttl / _BEATS)
            try:
                await self._write(entry, profile, instance, began)
                failing = False
            except BrokerPlaneError as error:
                # The next heartbeat announces it again, also after it has expired.
                if not failing:
                    log.warning("The announcement of %s could not be renewed: %s", profile.agent_id, error)
                failing = True

    async def _write(self, entry: _Entry, profile: AgentProfile, instance: str, began: float) -> AgentAnnouncement:
        times = {"announced": _instant(began), "seen": _instant(self._now())}
        announcement = announcement_of(profile, instance=instance, **times)
        raw = dumps(announcement.to_wire())
        try:
            entry.revision = await self._bucket.save(entry.name, raw, entry.revision, profile.ttl)
        except ConflictError:
            # It has expired, or an operator has deleted it. The instance is ours alone.
            _, entry.revision = await self._bucket.load(entry.name)
            entry.revision = await self._bucket.save(entry.name, raw, entry.revision, profile.ttl)
        return announcement

    async def _remove(self, entry: _Entry) -> None:
        """Delete the entry; if that fails, it expires."""
        with anyio.move_on_after(_REMOVE_SECONDS, shield=True), suppress(BrokerPlaneError):
            # The last heartbeat may have been stored without our knowing.
            raw, revision = await self._bucket.load(entry.name)
            if raw is not None:
                await self._bucket.delete(entry.name, revision)


def _first(found: Sequence[FoundAgent], limit: int) -> list[FoundAgent]:
    return sorted(found, key=lambda each: (each.announcement.agent_id, each.announcement.instance))[:limit]


def _readable(name: str, raw: bytes, now: float) -> AgentAnnouncement | None:
    """The announcement of an entry; None if it is not one, or if it says that it is another's."""
    if len(raw) > MAX_ENTRY_BYTES:
        return None
    try:
        announcement = parse_announcement(raw)
    except RegistryError:
        return None
    if (
        name != f"{announcement.agent_id}.{announcement.instance}"
        or announcement.last_seen.timestamp() > now + _SKEW_SECONDS
    ):
        return None
    return announcement


def _instant(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
