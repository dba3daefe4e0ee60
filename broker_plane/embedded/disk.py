"""Test whether a directory's disk accepts data, by writing: statvfs(2) shows neither quotas nor inodes."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

NEEDED_BYTES = 2 << 20
"""With less free space the disk counts as full: no ordinary body would fit."""


def why_unwritable(directory: Path, needed: int = NEEDED_BYTES) -> str:
    """The system's reason why a file of `needed` bytes cannot be created there; empty if it can."""
    path = directory / f".room.{os.getpid()}"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        return os.strerror(error.errno or 0)
    try:
        os.posix_fallocate(descriptor, 0, needed)
    except OSError as error:
        return os.strerror(error.errno or 0)
    finally:
        os.close(descriptor)
        with suppress(OSError):
            path.unlink()
    return ""
