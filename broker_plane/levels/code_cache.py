"""The code cache (Level 1.5) in a bucket that all processes of a plane share (docs/decisions/0060).

`code.<key>` has the code, `count.<key>` its counts, so that a hit does not write the code again. `claim.<key>` names
the one task that has new code written; it expires unless its owner renews it, so a killed process holds up nobody.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, replace
from math import ceil

import anyio
import msgspec

from broker_plane.errors import BrokerPlaneError, ConflictError, StoreFullError
from broker_plane.levels.ports import CodeCounts, CodeEntry
from broker_plane.plane.ports import Bucket
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.wire.exact_json import MALFORMED, dumps, loads

log = redacted_logger(__name__)

MAX_FAILURES = 3
"""Code that failed so often in a row is dropped."""

_CLAIM_SECONDS = 10
_RENEWALS = 3
"""How often a claim is renewed before it would expire."""

_COUNTS_SECONDS = 90 * 86_400
_ATTEMPTS = 32
_RELEASE_SECONDS = 5.0
_FORMAT = 1


class BucketCodeCache:
    """The CodeCache port. Code expires `ttl_seconds` after it was written; a claim after `claim_seconds`."""

    def __init__(self, bucket: Bucket, *, ttl_seconds: float, claim_seconds: int = _CLAIM_SECONDS) -> None:
        self._bucket = bucket
        self._ttl_seconds = ceil(ttl_seconds)
        self._claim_seconds = claim_seconds

    async def get(self, key: str) -> CodeEntry | None:
        (raw, _), (counts, _) = await asyncio.gather(self._bucket.load(_code(key)), self._bucket.load(_count(key)))
        entry = _entry(key, raw)
        return None if entry is None else replace(entry, counts=_counts(counts))

    @asynccontextmanager
    async def claimed(self, key: str) -> AsyncIterator[bool]:
        name, token = f"claim.{key}", secrets.token_hex(8).encode()
        try:
            revision = await self._claim(name, token)
        except StoreFullError as error:
            log.warning("Code is generated without a claim, so that other processes may do so as well: %s", error)
            yield True
            return
        if revision is None:
            yield False
            return
        renewing = asyncio.create_task(self._renew(name, token, revision))
        try:
            yield True
        finally:
            renewing.cancel()
            with anyio.move_on_after(_RELEASE_SECONDS, shield=True):
                await asyncio.wait([renewing])
                await self._release(name, token)

    async def save(self, entry: CodeEntry) -> None:
        fields = {**asdict(entry), "format": _FORMAT}
        del fields["counts"]
        with _logged("The code was not cached"):
            await self._change(_code(entry.key), lambda _: dumps(fields), self._ttl_seconds)
            await self._add(entry.key, failures_in_row=None)

    async def missed(self, key: str) -> None:
        with _logged("A miss was not counted"):
            await self._add(key, misses=1)

    async def succeeded(self, entry: CodeEntry) -> None:
        with _logged("A hit was not counted"):
            await self._add(entry.key, hits=1, failures_in_row=None)

    async def failed(self, entry: CodeEntry) -> None:
        with _logged("A failure was not counted"):
            counts = await self._add(entry.key, failures=1, failures_in_row=1)
            if counts.failures_in_row < MAX_FAILURES:
                return
            raw, revision = await self._bucket.load(_code(entry.key))
            if entry.same_code(_entry(entry.key, raw)):
                with suppress(ConflictError):  # it was replaced
                    await self._bucket.delete(_code(entry.key), revision)
                log.warning("Code for %s failed %d times in a row and was dropped", entry.endpoint, MAX_FAILURES)

    async def forget(self, key: str) -> bool:
        found = [await self._delete(name) for name in (_code(key), _count(key))]
        return any(found)

    async def entries(self) -> AsyncGenerator[CodeEntry, None]:
        counts: dict[str, CodeCounts] = {}
        async with aclosing(self._bucket.entries("count.*")) as found:
            async for name, raw, _ in found:
                counts[name.removeprefix("count.")] = _counts(raw)
        async with aclosing(self._bucket.entries("code.*")) as found:
            async for name, raw, _ in found:
                key = name.removeprefix("code.")
                if (entry := _entry(key, raw)) is not None:
                    yield replace(entry, counts=counts.get(key, CodeCounts()))

    async def _add(self, key: str, *, failures_in_row: int | None = 0, **more: int) -> CodeCounts:
        """Add to the counts of a key; `failures_in_row=None` sets it to 0."""

        def change(raw: bytes | None) -> bytes:
            counts = asdict(_counts(raw))
            row = 0 if failures_in_row is None else counts["failures_in_row"] + failures_in_row
            return dumps({**counts, **{name: counts[name] + one for name, one in more.items()}, "failures_in_row": row})

        return _counts(await self._change(_count(key), change, _COUNTS_SECONDS))

    async def _change(self, name: str, change: Callable[[bytes | None], bytes], ttl_seconds: int) -> bytes:
        """Write what `change` makes of the entry; again if another process was faster."""
        for attempt in range(_ATTEMPTS):
            raw, revision = await self._bucket.load(name)
            changed = change(raw)
            try:
                await self._bucket.save(name, changed, revision, ttl_seconds)
                return changed
            except ConflictError:
                await anyio.sleep(secrets.randbelow(1 + min(attempt, 10)) / 1000)
        raise ConflictError("Too many processes write the same entry of the code cache; try again")

    async def _delete(self, name: str) -> bool:
        for _ in range(_ATTEMPTS):
            raw, revision = await self._bucket.load(name)
            if raw is None:
                return False
            with suppress(ConflictError):
                await self._bucket.delete(name, revision)
                return True
        raise ConflictError("Too many processes write the same entry of the code cache; try again")

    async def _claim(self, name: str, token: bytes) -> int | None:
        """The revision of our claim; None after the claim of another task has ended."""
        while True:
            held, revision = await self._bucket.load(name)
            if held is None:
                with suppress(ConflictError):
                    return await self._bucket.save(name, token, revision, self._claim_seconds)
                continue
            while held is not None:
                held, revision = await self._bucket.changed(name, revision, self._claim_seconds)
            return None

    async def _renew(self, name: str, token: bytes, revision: int) -> None:
        while True:
            await anyio.sleep(self._claim_seconds / _RENEWALS)
            try:
                revision = await self._bucket.save(name, token, revision, self._claim_seconds)
            except ConflictError:  # this process was suspended for too long
                log.warning("A claim to generate code has expired; another process may generate it as well")
                return
            except BrokerPlaneError as error:
                log.warning("A claim to generate code could not be renewed: %s", error)

    async def _release(self, name: str, token: bytes) -> None:
        with suppress(BrokerPlaneError):  # it expires
            held, revision = await self._bucket.load(name)
            if held == token:
                await self._bucket.delete(name, revision)


@contextmanager
def _logged(what: str) -> Iterator[None]:
    """Log an error of the store instead of raising it: the bytes of the transfer are verified already."""
    try:
        yield
    except BrokerPlaneError as error:
        log.warning("%s: %s", what, error)


def _code(key: str) -> str:
    return f"code.{key}"


def _count(key: str) -> str:
    return f"count.{key}"


def _entry(key: str, raw: bytes | None) -> CodeEntry | None:
    """The entry; None if it is not one that this version wrote for this key."""
    with suppress(*MALFORMED, msgspec.ValidationError):
        fields = loads(raw or b"null")
        if isinstance(fields, dict) and fields.get("format") == _FORMAT:
            entry = msgspec.convert(fields, CodeEntry)
            return entry if entry.key == key else None
    return None


def _counts(raw: bytes | None) -> CodeCounts:
    with suppress(*MALFORMED, msgspec.ValidationError):
        return msgspec.convert(loads(raw or b"{}"), CodeCounts)
    return CodeCounts()
