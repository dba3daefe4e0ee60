"""Locks that the kernel frees at any death of their holder (flock(2)); only they say who is alive."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class FileLock:
    """An flock on one file of its own descriptor. The file is never deleted, so that everybody locks the same."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def try_shared(self) -> bool:
        """Hold the lock together with others, unless somebody holds it alone."""
        return _try(self._descriptor, fcntl.LOCK_SH)

    def try_exclusive(self) -> bool:
        """Hold the lock alone, unless somebody else holds it. On False a shared hold is lost too (flock(2))."""
        return _try(self._descriptor, fcntl.LOCK_EX)

    def release(self) -> None:
        """Hold nothing; the file stays open."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def write(self, text: str) -> None:
        """Replace what stands in the file. Only for who holds the lock."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)

    def close(self) -> None:
        """Hold nothing any more. Closing twice does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def is_held_alone(path: Path) -> bool:
    """True while some process holds the lock exclusively; False too if there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _try(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def holder_of(path: Path) -> int:
    """The process that holds the lock exclusively, as the kernel says; 0 where it does not say (proc_locks(5))."""
    try:
        inode = path.stat().st_ino
        locks = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return 0
    for _, kind, _, how, pid, place, *_ in (line.split() for line in locks if "->" not in line):
        if (kind, how) == ("FLOCK", "WRITE") and place.rpartition(":")[2] == str(inode):
            return max(0, int(pid))
    return 0


def _try(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
