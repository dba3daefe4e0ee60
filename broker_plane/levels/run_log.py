"""The log of runs of generated code, in a bucket that all processes of a plane share.

`run.<id>` has a record, `source.<digest>` the code that it ran: code that is run a thousand times is stored once.
Records expire after 30 days, and the oldest ones make room in a full bucket.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import asdict
from typing import Any

import msgspec

from broker_plane.errors import BrokerPlaneError, ConflictError, StoreFullError
from broker_plane.levels.ports import RunRecord
from broker_plane.plane.ports import Bucket
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.wire.exact_json import MALFORMED, dumps, loads

log = redacted_logger(__name__)

_DAY = 86_400
_KEEP_SECONDS = 30 * _DAY
_PRUNED_PART = 4
"""One in so many records, the oldest ones, is removed from a full bucket."""

_RUNS = "run.*"
_SOURCES = "source.*"


class BucketRunLog:
    """The RunLog port."""

    def __init__(self, bucket: Bucket, *, now: Callable[[], float]) -> None:
        self._bucket = bucket
        self._now = now
        self._stored: dict[str, float] = {}
        """When this process last saw that a source is stored, by digest."""

    async def note(self, record: RunRecord) -> None:
        try:
            try:
                await self._store(record)
            except StoreFullError:
                await self._prune()
                self._stored.clear()
                await self._store(record)
        except BrokerPlaneError as error:
            log.warning("A run of generated code was not logged: %s", error)

    async def read(self) -> AsyncGenerator[RunRecord, None]:
        sources: dict[str, str] = {}
        async with aclosing(self._bucket.entries(_RUNS)) as found:
            async for _, raw, _ in found:
                fields = _fields(raw)
                digest = str(fields.get("source_digest", ""))
                if digest not in sources:
                    stored, _ = await self._bucket.load(f"source.{digest}") if digest else (None, 0)
                    sources[digest] = str(_fields(stored).get("source", ""))
                with suppress(msgspec.ValidationError):
                    yield msgspec.convert({**fields, "source": sources[digest]}, RunRecord)

    async def _store(self, record: RunRecord) -> None:
        digest = hashlib.sha256(record.source.encode()).hexdigest()
        await self._keep(digest, record.source)
        fields: dict[str, Any] = {**asdict(record), "source_digest": digest}
        del fields["source"]
        name = f"run.{round(record.at * 1000):014d}-{secrets.token_hex(4)}"
        await self._bucket.save(name, dumps(fields), 0, _KEEP_SECONDS)

    async def _keep(self, digest: str, source: str) -> None:
        """Store a source so that it outlives the record that is written next; at most once a day."""
        now = self._now()
        if now - self._stored.get(digest, 0.0) < _DAY:
            return
        name = f"source.{digest}"
        stored, revision = await self._bucket.load(name)
        at = _fields(stored).get("at")
        if not isinstance(at, int | float) or now - at >= _DAY:
            with suppress(ConflictError):  # another process stores it
                await self._bucket.save(name, dumps({"at": now, "source": source}), revision, _KEEP_SECONDS + 2 * _DAY)
            at = now
        self._stored[digest] = at

    async def _prune(self) -> None:
        """Remove the oldest records, and the sources that no other record has."""
        async with aclosing(self._bucket.entries(_RUNS)) as found:
            runs = [(name, revision, str(_fields(raw).get("source_digest"))) async for name, raw, revision in found]
        old = len(runs) // _PRUNED_PART + 1
        used = {digest for _, _, digest in runs[old:]}
        async with aclosing(self._bucket.entries(_SOURCES)) as found:
            sources = [(name, revision) async for name, _, revision in found]
        unused = [(name, revision) for name, revision in sources if name.removeprefix("source.") not in used]
        for name, revision in [(name, revision) for name, revision, _ in runs[:old]] + unused:
            with suppress(ConflictError):
                await self._bucket.delete(name, revision)
        log.warning("The log of generated code was full; its %d oldest records were removed", min(old, len(runs)))


def _fields(raw: bytes | None) -> dict[str, Any]:
    with suppress(*MALFORMED):
        fields = loads(raw or b"null")
        return fields if isinstance(fields, dict) else {}
    return {}
