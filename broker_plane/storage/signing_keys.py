"""An owner's private signing keys, in a file of this machine: hex seeds, one a line, the newest first."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from broker_plane.errors import ConfigError
from broker_plane.files.locks import FileLock
from broker_plane.files.private import write_private
from broker_plane.registry.signing import SEED_BYTES, SigningKey

LIVE_SIGNING_KEYS = 2
"""The key that signs now, and the one before, which a rotation that was interrupted still needs."""


class SigningKeyFile:
    """The OwnerSigningKeys port. Processes that share the file share the keys; it is created with mode 0600."""

    def __init__(self, path: Path, *, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._path = path
        self._random = random_bytes

    def held(self) -> Sequence[SigningKey]:
        with self._locked():
            seeds = self._read() or self._write([self._random(SEED_BYTES)])
        return [SigningKey(seed) for seed in seeds]

    def add(self) -> SigningKey:
        with self._locked():
            seeds = self._write([self._random(SEED_BYTES), *self._read()][:LIVE_SIGNING_KEYS])
        return SigningKey(seeds[0])

    def _read(self) -> list[bytes]:
        try:
            mode = self._path.stat().st_mode
            lines = self._path.read_text("ascii").split()
            seeds = [bytes.fromhex(line) for line in lines]
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self._path} cannot be read as a signing key: {type(error).__name__}") from None
        if not seeds or any(len(seed) != SEED_BYTES for seed in seeds):
            raise ConfigError(f"{self._path} holds no signing key: {SEED_BYTES} bytes in hex, one key a line")
        if mode & 0o077:
            raise ConfigError(f"{self._path} can be read by other users: chmod 600 it")
        return seeds

    def _write(self, seeds: list[bytes]) -> list[bytes]:
        try:
            write_private(self._path, "".join(seed.hex() + "\n" for seed in seeds).encode(), durable=True)
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be written ({error.strerror})") from error
        return seeds

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes out while the file is read and written."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = FileLock(self._path.with_name(self._path.name + ".lock"))
        except OSError as error:
            raise ConfigError(
                f"{self._path.parent} cannot be used for the signing key ({error.strerror}): set "
                "BROKER_PLANE_PROTOCOLS_KEY to a file in a directory that this user may write"
            ) from error
        try:
            lock.wait_exclusive()
            yield
        finally:
            lock.close()
