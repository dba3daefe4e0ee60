"""Targets for pulled bodies: pipes, devices, and files, which are replaced only once the whole body is verified."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import IO

import anyio

from broker_plane.plane.ports import BodyTarget

_DESCRIPTOR = re.compile(r"/(?:dev|proc/(?:self|thread-self)|proc/self/task/\d+)/fd/(\d+)\Z")
_STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
_MOST_LINKS = 40
_FIFO_SECONDS = 0.02
"""Time between two checks whether a FIFO has a reader."""


class StreamTarget:
    """A pipe, a device or standard output. The last piece is held back until `commit`."""

    stream = True

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._held = b""

    def write(self, piece: bytes, /) -> int:
        held, self._held = self._held, bytes(piece)
        self._file.write(held)
        return len(piece)

    def commit(self) -> None:
        self._file.write(self._held)
        self._file.flush()


class FileTarget:
    """A regular file, old or new. It is replaced by `commit`, and keeps its mode and its owner."""

    stream = False

    def __init__(self, path: Path, found: os.stat_result | None) -> None:
        self._place = Path(os.path.realpath(path))
        self._found = found
        self._temporary: Path | None = None
        self._file: IO[bytes] = self._opened(path)

    def write(self, piece: bytes, /) -> int:
        return self._file.write(piece)

    def commit(self) -> None:
        self._file.flush()
        if self._temporary is None or not self._moved(self._temporary):
            self._copy()

    def close(self) -> None:
        """Close the file and remove the temporary one."""
        with suppress(OSError):
            self._file.close()
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)

    def _opened(self, path: Path) -> IO[bytes]:
        temporary = self._place.with_name(f".{token_hex(8)}.part")
        mode = 0o666 if self._found is None else 0o600  # the umask decides for a new file
        try:
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        except OSError as error:
            if self._found is not None and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                return tempfile.TemporaryFile()  # the directory is read-only, and the file itself is not
            raise type(error)(error.errno, error.strerror, str(path)) from error
        self._temporary = temporary
        return os.fdopen(descriptor, "w+b")

    def _moved(self, temporary: Path) -> bool:
        """Replace the old file by the new one, and say whether that worked without changing the owner."""
        try:
            if self._found is not None:
                made = temporary.stat()
                if (made.st_uid, made.st_gid) != (self._found.st_uid, self._found.st_gid):
                    os.chown(temporary, self._found.st_uid, self._found.st_gid)
                temporary.chmod(stat.S_IMODE(self._found.st_mode))
            temporary.replace(self._place)
        except OSError:  # a file of another user, or a mount point
            if self._found is None:
                raise
            return False
        self._temporary = None
        return True

    def _copy(self) -> None:
        """Copy the complete and verified bytes into the existing file."""
        self._file.seek(0)
        with self._place.open("r+b") as place:
            shutil.copyfileobj(self._file, place, 1 << 20)
            place.truncate()


@asynccontextmanager
async def open_target(path: Path) -> AsyncIterator[BodyTarget]:
    """Open `path` for writing: a new or existing file, also through links; a FIFO, a device, an open descriptor.

    Raises:
        IsADirectoryError, PermissionError, FileNotFoundError: before anything is written, with the given name.
    """
    descriptor = _descriptor_of(path)
    found = _found(path)
    if descriptor is not None or (found is not None and not stat.S_ISREG(found.st_mode)):
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        opened = os.dup(descriptor) if descriptor is not None else await _opened(path)
        with os.fdopen(opened, "wb") as file:
            yield StreamTarget(file)
        return
    if found is not None and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    target = FileTarget(path, found)
    try:
        yield target
    finally:
        target.close()


def _found(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


async def _opened(path: Path) -> int:
    """The descriptor of a FIFO or device. Waits until a FIFO has a reader."""
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            found = _found(path)
            if error.errno != errno.ENXIO or found is None or not stat.S_ISFIFO(found.st_mode):
                raise
            await anyio.sleep(_FIFO_SECONDS)
            continue
        os.set_blocking(descriptor, True)
        return descriptor


def _descriptor_of(path: Path) -> int | None:
    """The open descriptor that `path` names, as /dev/stdout and /dev/fd/3 do; None for any other path."""
    name = Path(os.path.normpath(path.absolute()))
    for _ in range(_MOST_LINKS):
        if str(name) in _STREAMS:
            return _STREAMS[str(name)]
        if found := _DESCRIPTOR.match(str(name)):
            return int(found[1])
        try:
            name = Path(os.path.normpath(name.parent / name.readlink()))
        except OSError:
            return None
    return None
