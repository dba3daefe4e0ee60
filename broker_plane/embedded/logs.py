"""Log files of the child processes: whole lines, redacted, with rotation."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from broker_plane.wire.urls import redact

MAX_FILE_BYTES = 1 << 20
MAX_LINE_BYTES = 1 << 16
MAX_FINAL_READS = 32


class RotatingLog:
    """A log file and its predecessor, each up to 1 MiB."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_FILE_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self.last_line = ""

    def write(self, line: str) -> None:
        """Append one redacted line. If the disk is full, the line is lost without an error."""
        self.last_line = redact(line)
        data = (self.last_line + "\n").encode()
        with suppress(OSError):
            self._rotate_for(len(data))
            self._append(data)

    def note(self, sentence: str) -> None:
        """Append a timestamped sentence of the supervisor."""
        self.write(time.strftime("%Y-%m-%d %H:%M:%S ") + sentence)

    def _rotate_for(self, more: int) -> None:
        with suppress(FileNotFoundError):
            if self._path.stat().st_size + more > self._max_bytes:
                self._path.replace(self._path.with_name(self._path.name + ".1"))

    def _append(self, data: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)


class LineReader:
    """Splits the output of a pipe into lines, without blocking."""

    def __init__(self, descriptor: int, on_line: Callable[[str], None]) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._on_line = on_line
        self._rest = b""
        self._too_long = False

    def read(self) -> bool:
        """Pass on all available lines; False once the other side has closed the pipe."""
        data = self._available()
        if data is None:
            return True
        self._take(data)
        return bool(data)

    def read_to_end(self) -> None:
        """Pass on the remaining output of a process that ended, even an unterminated last line."""
        # A grandchild may hold the pipe and keep writing, so the number of reads is limited.
        for _ in range(MAX_FINAL_READS):
            if not (data := self._available()):
                break
            self._take(data)
        if self._rest:
            self._take(b"\n")

    def _available(self) -> bytes | None:
        try:
            return os.read(self._descriptor, MAX_LINE_BYTES)
        except BlockingIOError:
            return None

    def _take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._end_line(line.decode(errors="replace"))
        if len(self._rest) > MAX_LINE_BYTES:
            self._rest, self._too_long = b"", True

    def _end_line(self, line: str) -> None:
        # Left out as a whole: a grant that is cut in two would have no prefix to be redacted by.
        self._on_line("(a line of more than 64 KiB was left out)" if self._too_long else line)
        self._too_long = False
