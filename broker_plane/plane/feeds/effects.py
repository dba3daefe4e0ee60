"""Effects that happen once: a subscriber's state by key, written by compare-and-set with the notice that led to it.

An entry holds the sequence of the last notice that was applied to its key, and the value that it left. The write is the
effect and the checkpoint in one: after a crash before it nothing happened, after it the notice counts as applied.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any

from broker_plane.errors import ConflictError
from broker_plane.plane.feeds.ports import Entries
from broker_plane.plane.retry import patiently
from broker_plane.tabular.types import pack, unpack
from broker_plane.wire.names import encode_id

_PATIENCE_SECONDS = 20.0
_DAYS = 30
KEPT_SECONDS = _DAYS * 86_400
"""An entry is forgotten when its key had no notice for so long."""


@dataclass(slots=True)
class Effect:
    """What a notice does to one key. Where it is not `fresh`, this notice or a later one was applied already.

    `value` is what the key's last notice left (None at first), and becomes what is kept; any msgpack value.
    """

    fresh: bool
    value: Any


class Ledger:
    """The entries of one durable."""

    def __init__(self, entries: Entries, durable: str) -> None:
        self._entries = entries
        self._durable = durable

    async def read(self, key: str) -> Any:
        """What `once` last kept for `key`; None where there is nothing."""
        return (await self._load(key))[1]

    @asynccontextmanager
    async def once(self, key: str, sequence: int) -> AsyncIterator[Effect]:
        """The effect of the notice at `sequence` on `key`, kept when the block ends without an error.

        Raises:
            ConflictError: another subscriber wrote in between; the notice comes again.
            BrokerUnavailableError: whether it is kept is not known; when the notice comes again, `fresh` says it.
        """
        applied, value, revision = await patiently(partial(self._load, key), _PATIENCE_SECONDS)
        effect = Effect(fresh=applied < sequence, value=value)
        yield effect
        if effect.fresh:
            await self._keep(key, sequence, effect.value, revision)

    async def _keep(self, key: str, sequence: int, value: Any, revision: int) -> None:
        entry = pack([sequence, value])

        async def attempt() -> bool:
            try:
                await self._entries.save(self._name(key), entry, revision, KEPT_SECONDS)
            except ConflictError:
                # Ours, whose answer was lost, or another subscriber's that took the same notice or a later one.
                return (await self._load(key))[0] >= sequence
            return True

        if not await patiently(attempt, _PATIENCE_SECONDS):
            raise ConflictError("Another subscriber wrote in between; the notice comes again")

    async def _load(self, key: str) -> tuple[int, Any, int]:
        raw, revision = await self._entries.load(self._name(key))
        if raw is None:
            return 0, None, revision
        sequence, value = unpack(raw)
        return sequence, value, revision

    def _name(self, key: str) -> str:
        return f"once.{self._durable}.{encode_id(sha256(key.encode()).digest()[:16])}"


class Position:
    """The last version that a durable has applied, for `notice.changes()`."""

    def __init__(self, entries: Entries, durable: str) -> None:
        self._entries = entries
        self._name = f"at.{durable}"

    async def load(self) -> int:
        """The version; 0 at first."""
        raw, _ = await patiently(partial(self._entries.load, self._name), _PATIENCE_SECONDS)
        return int(unpack(raw)) if raw else 0

    async def save(self, version: int) -> None:
        """Keep `version`, where it is a later one: a notice that comes again after later ones takes nothing back."""

        async def attempt() -> None:
            raw, revision = await self._entries.load(self._name)
            if raw is None or unpack(raw) < version:
                await self._entries.save(self._name, pack(version), revision, KEPT_SECONDS)

        await patiently(attempt, _PATIENCE_SECONDS)
