"""A resource server's keys: in a file of its own, and published to `bp_keys`, where it may read nothing.

The file is replaced atomically and read again when it has changed, so two processes of one owner seal with the same
key. A lock file beside it is held while keys are created or registered: an older ring never replaces a newer one.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.to_thread

from broker_plane.broker.connection import Connection
from broker_plane.errors import ConfigError
from broker_plane.files.locks import FileLock
from broker_plane.files.private import write_private
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
        write_private(self._path, pack_ring(ring), durable=True)
        return ring

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        lock = await anyio.to_thread.run_sync(self._lock)
        try:
            yield
        finally:
            lock.close()

    def _lock(self) -> FileLock:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = FileLock(self._path.with_name(self._path.name + ".lock"))
        except OSError as error:
            raise ConfigError(
                f"{self._path.parent} cannot be used ({error.strerror}): set BROKER_PLANE_DATA_DIR to a directory "
                "that this user may write"
            ) from error
        lock.wait_exclusive()
        return lock


def _version(path: Path) -> Version | None:
    """A value that changes whenever the file is replaced."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
