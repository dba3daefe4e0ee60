"""File locks that the kernel releases when their holder dies in any way (flock(2))."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class FileLock:
    """An flock with its own file descriptor. The file is never deleted, so that all processes lock the same file."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def try_shared(self) -> bool:
        """Try to acquire the lock, shared with others."""
        return _try(self._descriptor, fcntl.LOCK_SH)

    def try_exclusive(self) -> bool:
        """Try to acquire the lock exclusively. On failure a shared lock is lost, too (flock(2))."""
        return _try(self._descriptor, fcntl.LOCK_EX)

    def wait_exclusive(self) -> None:
        """Acquire the lock exclusively, however long others have it. Blocks the thread."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def release(self) -> None:
        """Release the lock, and keep the file open."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def write(self, text: str) -> None:
        """Replace the content of the file. Only for the holder of the lock."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)

    def close(self) -> None:
        """Release the lock and close the file. Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def is_held_alone(path: Path) -> bool:
    """Whether a process holds the lock exclusively; False if there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _try(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


class LockWatch:
    """Asks again and again whether a process holds a lock exclusively, with a descriptor that stays open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def is_held_alone(self) -> bool:
        """As `is_held_alone`. If the lock of the open file is free, the path is opened again: it may be a new file."""
        if self._descriptor >= 0 and not _try(self._descriptor, fcntl.LOCK_SH):
            return True
        self.close()
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        if not _try(self._descriptor, fcntl.LOCK_SH):
            return True
        self.close()
        return False

    def close(self) -> None:
        """Close the file. Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked process may have the descriptor, too
            os.close(descriptor)


def holder_of(path: Path) -> int:
    """The id of the process that holds the lock exclusively; 0 if the kernel does not show it (proc_locks(5))."""
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
