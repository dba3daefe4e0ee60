"""Start a supervisor and wait for its report."""

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
    """A starting supervisor in its own process session, and its one-line report."""

    def __init__(
        self, data_dir: DataDir, arguments: Sequence[str], environment: Mapping[str, str | None] | None = None
    ) -> None:
        """`environment` holds changes to this process's environment; None removes a variable."""
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
        """Wait up to `seconds` for the report. True: ready; False: another supervisor is alive; None: no report yet.

        Raises:
            PortInUseError: another program uses the requested port.
            EmbeddedError: the broker could not be started; the message says why.
        """
        deadline = time.monotonic() + seconds
        while not self._ended and (left := deadline - time.monotonic()) > 0:
            self._read(left)
        return _outcome(self._said.decode(errors="replace")) if self._ended else None

    def close(self) -> None:
        """Stop listening. The supervisor keeps running."""
        if self._process.stdout:
            self._process.stdout.close()
        # The first process exits as soon as it has read its arguments and forked.
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
    # In a source tree the package is found through the current directory, which -P excludes.
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
