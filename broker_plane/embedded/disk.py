"""Whether the disk under a directory takes new data: tried, because neither quotas nor inodes stand in statvfs(2)."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

NEEDED_BYTES = 2 << 20
"""Less is a full disk: no body of ordinary size would be taken."""


def why_unwritable(directory: Path, needed: int = NEEDED_BYTES) -> str:
    """The system's reason why a file of `needed` bytes cannot be made there; empty where it can."""
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
