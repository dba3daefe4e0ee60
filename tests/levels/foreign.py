"""The foreign servers as tests start them: processes, which are ended after the test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demos.levels_foreign import SECRET
from demos.levels_protocols import PROTOCOLS

ROOT = Path(__file__).parents[2]
SECRET_OF_TESTS = "key-of-a-test"


class Foreign:
    """A foreign server that runs; `restart` keeps its port."""

    def __init__(self, protocol: str, secret: str, rows: int) -> None:
        self.protocol, self.secret, self.rows = protocol, secret, rows
        self.port = 0
        self._start(1)

    def _start(self, api: int) -> None:
        options = ["--port", str(self.port), "--rows", str(self.rows), "--api", str(api)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "demos.levels_foreign", self.protocol, *options],
            env=os.environ | {SECRET: self.secret, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.port = json.loads(self._process.stdout.readline())["port"]

    def change_api(self) -> None:
        """Version 2 from now on, without a restart."""
        self._process.send_signal(signal.SIGUSR1)

    def restart(self, api: int) -> None:
        self.stop()
        self._start(api)

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def descriptor(self) -> dict[str, Any]:
        return PROTOCOLS[self.protocol].descriptor(self.port, self.secret, self.rows)


@contextmanager
def foreign(protocol: str, *, secret: str = SECRET_OF_TESTS, rows: int = 700) -> Iterator[Foreign]:
    server = Foreign(protocol, secret, rows)
    try:
        yield server
    finally:
        server.stop()
