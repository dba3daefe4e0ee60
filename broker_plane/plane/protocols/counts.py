"""Counts how often each version was read and used, by all processes of a plane.

A process adds what it has counted to the bucket a few seconds later and when it ends, one write a protocol. A process
that is killed loses what it had not written, and a write whose answer was lost may count twice: the figures are for
people, and nothing depends on them. Every writer of the bucket may change them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, Final, Literal

from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.ports import Bucket
from broker_plane.plane.retry import compare_and_set
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.registry.canonical import canonical
from broker_plane.registry.entry_names import count_entry, protocol_of_entry
from broker_plane.registry.records import MAX_ENTRY_BYTES, MAX_VERSIONS
from broker_plane.registry.versions import is_version
from broker_plane.wire import exact_json

log = logging.getLogger(__name__)

CountKind = Literal["gets", "uses"]
KINDS: Final[tuple[CountKind, ...]] = ("gets", "uses")
VersionCounts = dict[str, dict[str, int]]
"""`{"1.0.0": {"gets": 3, "uses": 1}}`"""

FLUSH_SECONDS: Final = 2.0
_MOST = 2**53 - 1


class UsageCounts:
    """Counts in memory, and adds to the bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._pending: Counter[tuple[str, str, str]] = Counter()
        self._flushing: asyncio.Task[None] | None = None

    def note(self, protocol: str, version: str, kind: CountKind) -> None:
        """Count one more."""
        self._pending[protocol, version, kind] += 1
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush_later())

    async def flush(self) -> None:
        """Add what was counted to the bucket; what cannot be written is kept for the next time."""
        pending, self._pending = self._pending, Counter()
        for protocol in {protocol for protocol, _, _ in pending}:
            added = Counter({key: number for key, number in pending.items() if key[0] == protocol})
            try:
                await self._add(protocol, added)
            except BrokerPlaneError as error:
                log.debug("the uses of %s were not counted: %s", protocol, error.brief)
                self._pending += added

    async def read(self, protocol: str = "") -> dict[str, VersionCounts]:
        """The counts of all protocols, or of one, by id; what this process counted is added first."""
        await self.flush()
        pattern = count_entry(protocol) if protocol else "count.*.*"
        async with aclosing(self._bucket.entries(pattern)) as entries:
            found = {protocol_of_entry(name): _parsed(raw) async for name, raw, _ in entries}
        return dict(sorted(found.items()))

    async def close(self) -> None:
        """Add what was counted, and stop."""
        if self._flushing is not None:
            await cancel_and_forget(self._flushing)
        await self.flush()

    async def _flush_later(self) -> None:
        await asyncio.sleep(FLUSH_SECONDS)
        await self.flush()

    async def _add(self, protocol: str, added: Counter[tuple[str, str, str]]) -> None:
        name = count_entry(protocol)

        async def load() -> tuple[VersionCounts, int]:
            raw, revision = await self._bucket.load(name)
            return _parsed(raw), revision

        async def save(counts: VersionCounts, revision: int) -> None:
            await self._bucket.save(name, canonical(counts), revision)

        await compare_and_set(load, partial(_sum, added=added), save)


def _sum(counts: VersionCounts, *, added: Counter[tuple[str, str, str]]) -> VersionCounts:
    total = {version: dict(kinds) for version, kinds in counts.items()}
    for (_, version, kind), number in added.items():
        kinds = total.setdefault(version, dict.fromkeys(KINDS, 0))
        kinds[kind] = min(_MOST, kinds.get(kind, 0) + number)
    return dict([*total.items()][-MAX_VERSIONS:])


def _parsed(raw: bytes | None) -> VersionCounts:
    """The counts of an entry; without whatever in it is no count."""
    found: Any = None
    with suppress(*exact_json.MALFORMED):
        found = exact_json.loads(raw) if raw and len(raw) <= MAX_ENTRY_BYTES else None
    if not isinstance(found, dict):
        return {}
    return {
        version: {kind: _number(kinds.get(kind)) for kind in KINDS}
        for version, kinds in found.items()
        if isinstance(version, str) and is_version(version) and isinstance(kinds, dict)
    }


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST else 0
