"""One child process: start it, watch it, and restart it whenever it ends."""

from __future__ import annotations

import selectors
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, ClassVar

from broker_plane.embedded.logs import LineReader, RotatingLog
from broker_plane.embedded.processes import birth_of, spawn
from broker_plane.errors import EmbeddedError

START_SECONDS = 15.0
"""A child that is not ready after this time is killed and restarted."""
STEADY_SECONDS = 1.0
"""A child that lived this long is restarted at once; otherwise with exponential back-off."""
FIRST_DELAY_SECONDS = 0.05
MAX_DELAY_SECONDS = 5.0


def next_delay(delay: float, *, lived: float) -> float:
    """Seconds to wait before the next start of a child that lived for `lived` seconds after waiting `delay`."""
    if lived >= STEADY_SECONDS:
        return 0.0
    return min(max(2 * delay, FIRST_DELAY_SECONDS), MAX_DELAY_SECONDS)


class Child(ABC):
    """`tend` is called often and does what is due. Only for single-threaded processes (`processes.spawn`)."""

    name: ClassVar[str]

    def __init__(self, log: Path, selector: selectors.BaseSelector) -> None:
        self.log = RotatingLog(log / f"{self.name}.log")
        self.ready = False
        self.birth = ""
        """Identity of the current or last process (`processes.birth_of`)."""
        self.exit_code: int | None = None
        """Exit code of the last process that ended."""
        self.due = 0.0
        """When to start the next process."""
        self._process: subprocess.Popen[bytes] | None = None
        self._environment: dict[str, str] = {}
        self._selector = selector
        self._started = 0.0
        self._delay = 0.0
        self._asked = 0
        self._log_path = log / f"{self.name}.log"

    @abstractmethod
    def _command(self) -> Sequence[str]: ...

    @abstractmethod
    def _is_ready(self, pid: int) -> bool: ...

    @abstractmethod
    def _read_line(self, line: str) -> None:
        """Handle a line of the child's standard output."""

    def _read_log(self, line: str) -> None:
        """Handle a line of the child's standard error."""
        self.log.write(line)

    def write_line(self, line: str) -> None:
        """Write a line to the child's standard input, and restart its time limit for becoming ready."""
        if self._process is None or self._process.stdin is None:
            return
        with suppress(BrokenPipeError):  # It has ended, which the next `tend` sees.
            self._process.stdin.write(line.encode() + b"\n")
        self._started = time.monotonic()

    @property
    def pid(self) -> int:
        """Process id; 0 if it is not running."""
        return self._process.pid if self._process else 0

    def tend(self, now: float) -> None:
        """Start the process if due, notice its end or readiness, and kill it if it hangs while starting."""
        if self._process is None:
            if now >= self.due:
                self._start(now)
        elif self._process.poll() is not None:
            self._bury(self._process, now)
        elif not self.ready:
            self.ready = self._is_ready(self._process.pid)
            if not self.ready and now - self._started > START_SECONDS:
                self._process.kill()

    def failure(self) -> EmbeddedError:
        """Why the first start failed."""
        return EmbeddedError(
            f"{self.name} ended with code {self.exit_code} while it started: "
            f"{self.log.last_line or 'no output'} (log: {self._log_path})"
        )

    def terminate(self) -> None:
        """End the process, by force the second time; `tend` starts the next one."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL if self._asked == self.pid else signal.SIGTERM)
            self._asked = self.pid

    def stop(self, seconds: float) -> None:
        """End the process by SIGTERM, or after `seconds` by SIGKILL, with its last lines in the log."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while self._process.poll() is None:
            if time.monotonic() > deadline:
                self._process.kill()
            read_ready(self._selector, 0.01)
        self._bury(self._process, time.monotonic())

    def _start(self, now: float) -> None:
        self._started = now
        try:
            self._process = spawn(self._command(), self._environment)
        except OSError as error:  # No such program, no memory, a full disk: the next start may succeed.
            self.log.note(f"not started: {error}")
            self._count_death(127, now)
            return
        self.birth = birth_of(self._process.pid)
        self._watch(self._process.stdout, self._read_line)
        self._watch(self._process.stderr, self._read_log)

    def _watch(self, pipe: IO[bytes] | None, on_line: Callable[[str], None]) -> None:
        if pipe is not None:
            self._selector.register(pipe, selectors.EVENT_READ, LineReader(pipe.fileno(), on_line))

    def _bury(self, process: subprocess.Popen[bytes], now: float) -> None:
        for pipe in (process.stdout, process.stderr):
            self._close(pipe)
        if process.stdin:
            process.stdin.close()
        self._count_death(process.returncode, now)

    def _count_death(self, code: int, now: float) -> None:
        self.exit_code, self.ready, self._process = code, False, None
        self._delay = next_delay(self._delay, lived=now - self._started)
        self.due = now + self._delay

    def _close(self, pipe: IO[bytes] | None) -> None:
        if pipe is None or pipe.closed:
            return
        with suppress(KeyError):  # The child closed the pipe before it ended.
            self._selector.unregister(pipe).data.read_to_end()
        pipe.close()


def read_ready(selector: selectors.BaseSelector, seconds: float) -> None:
    """Wait up to `seconds` for output, and handle all available lines."""
    for key, _ in selector.select(seconds):
        if not key.data.read():
            selector.unregister(key.fileobj)
