"""A resource server's keys: in a file of its own, and published to `bp_keys`, where it may read nothing.

The file is replaced atomically and read again when it has changed, so two processes of one owner seal with the same
key. A lock file beside it is held while keys are created or registered: an older ring never replaces a newer one.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.to_thread

from broker_plane.broker.connection import Connection
from broker_plane.errors import ConfigError
from broker_plane.storage.keys import LIVE_KEYS, pack_ring, parse_ring
from broker_plane.wire.grant import Key

Version = tuple[int, int, int]


class FileKeys:
    """The Keys port for an owner that may only publish: it seals grants and opens none."""

    def __init__(
        self,
        connection: Connection,
        directory: Path,
        owner: str,
        *,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._connection = connection
        self._names = connection.names
        self._owner = owner
        self._path = directory / owner
        self._random = random_bytes
        self._ring: list[Key] = []
        self._version: Version | None = None

    async def sealing(self) -> Key:
        """The first key of the file, which is registered for all bridges."""
        version = _version(self._path)
        if version is None or version != self._version:
            async with self._locked():
                self._ring = self._read() or self._write([Key(self._random(32))])
                await self._register()
        return self._ring[0]

    async def opening(self, key_id: bytes) -> list[tuple[str, Key]]:
        return [(self._owner, key) for key in self._ring if key.id == key_id]

    async def rotate(self) -> Key:
        """Create a new sealing key; the previous one still opens grants, older ones do not any more."""
        async with self._locked():
            self._ring = self._write([Key(self._random(32)), *self._read()][:LIVE_KEYS])
            await self._register()
        return self._ring[0]

    async def _register(self) -> None:
        version = _version(self._path)
        ring, subject = pack_ring(self._ring), self._names.ring_subject(self._owner)
        await self._connection.retry(lambda: self._connection.store(subject, ring))
        self._version = version  # only now: after a failure it is registered again before anything is sealed

    def _read(self) -> list[Key]:
        try:
            ring = parse_ring(self._path.read_bytes())
        except FileNotFoundError:
            return []
        if not ring:
            raise ConfigError(
                f"{self._path} holds no keys; put the file back, or remove it and lose the grants out there"
            )
        return ring

    def _write(self, ring: list[Key]) -> list[Key]:
        draft = self._path.with_name(self._path.name + ".tmp")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pack_ring(ring))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        return ring

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        descriptor = await anyio.to_thread.run_sync(self._lock)
        try:
            yield
        finally:
            os.close(descriptor)

    def _lock(self) -> int:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._path.with_name(self._path.name + ".lock")
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(
                f"{self._path.parent} cannot be used ({error.strerror}): set BROKER_PLANE_DATA_DIR to a directory "
                "that this user may write"
            ) from error
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return descriptor


def _version(path: Path) -> Version | None:
    """A value that changes whenever the file is replaced."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
