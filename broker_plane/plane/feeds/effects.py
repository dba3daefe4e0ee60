"""What the subscribers of a durable have already done: effects by idempotency key, and the checkpoint of changes.

An entry of the effect log holds the sequence of the last notice that was applied under its key, and the value that the
notice left. Both are written by one compare-and-set: after a crash before the write nothing happened, after a crash
behind it the notice counts as applied.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any

from broker_plane.errors import ConflictError, NotPermittedError
from broker_plane.plane.ports import EntryStore
from broker_plane.plane.retry import compare_and_set, retry_while_retryable
from broker_plane.tabular.types import pack, unpack
from broker_plane.wire.names import encode_id

_RETRY_SECONDS = 20.0
_DAYS = 30
ENTRY_SECONDS = _DAYS * 86_400
"""An entry expires this long after the last notice for its key."""


@dataclass(slots=True)
class Effect:
    """The effect of a notice under one key.

    `fresh` is False if this notice, or a later one, was applied before. `value` is what the last applied notice left
    (None at first); assign what is to be stored: any msgpack value.
    """

    fresh: bool
    value: Any


class EffectLog:
    """The effects of one durable, by idempotency key."""

    def __init__(self, entries: EntryStore, durable: str) -> None:
        self._entries = entries
        self._durable = durable

    async def read(self, key: str) -> Any:
        """Return the value that `once` last stored for `key`, or None."""
        return (await self._load(key))[1]

    @asynccontextmanager
    async def once(self, key: str, sequence: int) -> AsyncIterator[Effect]:
        """Apply the notice at `sequence` to `key`: the effect is stored if the block ends without an error.

        Raises:
            ConflictError: another subscriber wrote meanwhile; the notice is redelivered.
            BrokerUnavailableError: the outcome is unknown; when the notice is redelivered, `fresh` tells.
        """
        applied, value, revision = await retry_while_retryable(partial(self._load, key), _RETRY_SECONDS)
        effect = Effect(fresh=applied < sequence, value=value)
        yield effect
        if effect.fresh:
            await self._save(key, sequence, effect.value, revision)

    async def _save(self, key: str, sequence: int, value: Any, revision: int) -> None:
        # No compare-and-set loop: the value was computed from this revision, so another one is not overwritten.
        entry = pack([sequence, value])

        async def attempt() -> bool:
            try:
                await self._entries.save(self._name(key), entry, revision, ENTRY_SECONDS)
            except ConflictError:
                # Either our own write, whose answer was lost, or that of another subscriber of the same durable.
                return (await self._load(key))[0] >= sequence
            return True

        if not await retry_while_retryable(attempt, _RETRY_SECONDS):
            raise ConflictError("Another subscriber wrote this effect meanwhile; the notice is redelivered")

    async def _load(self, key: str) -> tuple[int, Any, int]:
        raw, revision = await self._entries.load(self._name(key))
        if raw is None:
            return 0, None, revision
        sequence, value = unpack(raw)
        return sequence, value, revision

    def _name(self, key: str) -> str:
        return f"once.{self._durable}.{encode_id(sha256(key.encode()).digest()[:16])}"


class Checkpoint:
    """The last version whose changes the subscribers of a durable have applied."""

    def __init__(self, entries: EntryStore, durable: str) -> None:
        self._entries = entries
        self._name = f"at.{durable}"

    async def load(self) -> int:
        """Return the version; 0 if there is none."""
        return (await retry_while_retryable(self._load, _RETRY_SECONDS))[0]

    async def save(self, version: int) -> None:
        """Advance to `version`. Redelivered notices of earlier versions do not move it back."""

        def later(stored: int) -> int:
            return max(stored, version)

        await retry_while_retryable(lambda: compare_and_set(self._load, later, self._save), _RETRY_SECONDS)

    async def _load(self) -> tuple[int, int]:
        raw, revision = await self._entries.load(self._name)
        return (int(unpack(raw)) if raw else 0), revision

    async def _save(self, version: int, revision: int) -> None:
        await self._entries.save(self._name, pack(version), revision, ENTRY_SECONDS)


class SubscriberState:
    """The checkpoint and the effects of a durable. Guests may write nothing: their checkpoint is kept in memory."""

    def __init__(self, entries: EntryStore | None, durable: str) -> None:
        self._effects = EffectLog(entries, durable) if entries else None
        self._checkpoint = Checkpoint(entries, durable) if entries else None
        self._version = 0

    async def checkpoint(self) -> int:
        """Return the version whose changes were applied last; 0 if there is none."""
        return await self._checkpoint.load() if self._checkpoint else self._version

    async def advance(self, version: int) -> None:
        """Move the checkpoint to `version`, unless it is behind it already."""
        self._version = max(self._version, version)
        if self._checkpoint:
            await self._checkpoint.save(version)

    def once(self, key: str, sequence: int) -> AbstractAsyncContextManager[Effect]:
        """As `EffectLog.once`.

        Raises:
            NotPermittedError: a guest cannot store effects.
        """
        if self._effects is None:
            raise NotPermittedError(
                "Guests cannot store effects in the plane; store the notice's version with your own data instead"
            )
        return self._effects.once(key, sequence)
