"""Start the process that reads a file (formats/child.py), and receive what it sends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import BinaryIO

from broker_plane.errors import TabularError
from broker_plane.formats.kinds import Format
from broker_plane.formats.messages import END, HEAD, read_messages
from broker_plane.tabular.types import unpack

MEMORY_BYTES = 2 << 30
"""What the process may take, beyond its code."""

_KEPT = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
"""Variables without which the interpreter may not find its modules."""

_FIXED = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}


class FileReader:
    """A process that reads the seekable file `file` in the format `form`; it has read the head when this returns.

    Raises:
        TabularError: the file is not one of this format, or has no such sheet.
    """

    def __init__(self, file: BinaryIO, form: Format, *, sheet: str = "", memory: int = MEMORY_BYTES) -> None:
        self._form = form
        self._ended = False
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        command = [sys.executable, "-P", "-m", "broker_plane.formats.child", form.value, str(memory), sheet]
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter and this package
            command,
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _KEPT if name in os.environ} | _FIXED,
        )
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe, for type checkers
        self._messages = read_messages(self._process.stdout.read)
        try:
            head = unpack(self.content(HEAD) or b"")
        except BaseException:
            self.close()
            raise
        self.columns: list[str] = head["columns"]
        self.num_rows: int | None = head["rows"]
        self.sheet: str = head.get("sheet", "")
        self.sheets: list[str] = head.get("sheets", [])

    def content(self, kind: bytes) -> bytes | None:
        """The content of the next message, which is of this kind; None at the end.

        Raises:
            TabularError: the file is damaged, or its reader ended before the file did.
        """
        if self._ended:
            return None
        found, content = next(self._messages, (b"", b""))
        if found == END:
            self._ended = True
            return None
        if found != kind:
            raise self._failure()
        return content

    def close(self) -> None:
        """End the process. Idempotent."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _failure(self) -> TabularError:
        self.close()
        slow = self._process.returncode == -signal.SIGXCPU
        why = "it takes too long" if slow else "it is damaged, or needs more memory than a file may take"
        return TabularError(
            f"The {self._form} file cannot be read: {why}. Write it again, in smaller parts or as CSV, or publish it "
            "as it is with --format bytes"
        )
