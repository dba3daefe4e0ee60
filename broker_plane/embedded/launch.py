"""The start of a supervisor, as seen by the process that starts it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import broker_plane
from broker_plane.embedded.data_dir import DataDir
from broker_plane.errors import EmbeddedError, PortInUseError

FORK_SECONDS = 2.0


class Launch:
    """A supervisor on its way, in a session of its own, with the one line that it says."""

    def __init__(
        self, data_dir: DataDir, arguments: Sequence[str], environment: Mapping[str, str | None] | None = None
    ) -> None:
        """`environment` is what is to be another than here; None for a variable that is not to be there."""
        # -P: a file in the current directory must not become a module of a process that lives for days.
        module = [sys.executable, "-P", "-m", "broker_plane.embedded.supervisor"]
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter and this package
            [*module, "--detach", "--data", str(data_dir.root), *arguments],
            bufsize=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=_changed(_environment(), environment or {}),
        )
        self._said = b""
        self._ended = False

    def is_ready(self, seconds: float) -> bool | None:
        """Wait at most so long for the outcome. True: ready; False: another one lives; None: nothing yet.

        Raises:
            PortInUseError: another program has the port that was asked for.
            EmbeddedError: the broker could not be started; the message says why.
        """
        deadline = time.monotonic() + seconds
        while not self._ended and (left := deadline - time.monotonic()) > 0:
            self._read(left)
        return _outcome(self._said.decode(errors="replace")) if self._ended else None

    def close(self) -> None:
        """Listen no more. The supervisor itself goes on."""
        if self._process.stdout:
            self._process.stdout.close()
        # The first process leaves its place to its child as soon as it has read its arguments.
        try:
            self._process.wait(FORK_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self, seconds: float) -> None:
        pipe = self._process.stdout
        if pipe is None or not select.select([pipe], [], [], seconds)[0]:
            return
        data = os.read(pipe.fileno(), 1 << 16)
        self._said += data
        self._ended = not data or _report(self._said.decode(errors="replace")) is not None


def _changed(environment: dict[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    kept = {name: value for name, value in environment.items() if name not in changes}
    return kept | {name: value for name, value in changes.items() if value is not None}


def _environment() -> dict[str, str]:
    # Out of a source tree the package is found by the current directory, which -P takes away.
    root = Path(broker_plane.__file__).parent.parent
    if root.name in ("site-packages", "dist-packages"):
        return dict(os.environ)
    paths = [path for path in (os.environ.get("PYTHONPATH"), str(root)) if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _report(said: str) -> dict[str, Any] | None:
    last = said.rstrip("\n").rpartition("\n")[2]
    if not (said.endswith("\n") and last.startswith("{")):
        return None
    try:
        report = json.loads(last)
    except ValueError:
        return None
    return report if isinstance(report, dict) else None


def _outcome(said: str) -> bool:
    report = _report(said) or {"message": f"The supervisor ended before it was ready: {said.strip()[-500:]}"}
    if "message" not in report:
        return "ready" in report
    kind = PortInUseError if report.get("error") == PortInUseError.code else EmbeddedError
    raise kind(report["message"], reason=report.get("reason", ""))
