"""A real nats-server for tests on a free port with its own store; it can be killed and restarted with both."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import anyio

from broker_plane.embedded.nats_server import find_binary
from broker_plane.errors import EmbeddedError

_CONFIG = """
server_name: test
host: 127.0.0.1
port: {port}
ports_file_dir: "{root}"
max_payload: 8MB
max_pending: 256MB
jetstream {{
  store_dir: "{root}/jetstream"
  max_file_store: {store_bytes}
  sync_interval: {sync}
  limits {{ default_max_consumers: -1 }}
}}
"""


class NatsServer:
    """`start()` returns once it answers at `url`; after `kill()`, `start()` restarts it with the same store."""

    def __init__(self, root: Path, *, store_bytes: int = 4 << 30, sync: str = "always", more: str = "") -> None:
        """`more` is appended to its configuration."""
        self.root = root
        self._more = more
        self.url = ""
        self._store_bytes = store_bytes
        self._sync = sync
        self._port = -1
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise EmbeddedError("The test server is not running")
        return self._process.pid

    def start(self) -> None:
        config = self.root / "server.conf"
        config.write_text(
            _CONFIG.format(port=self._port, root=self.root, store_bytes=self._store_bytes, sync=self._sync) + self._more
        )
        for old in self.root.glob("*.ports"):
            old.unlink()
        with (self.root / "server.log").open("ab") as log:
            self._process = subprocess.Popen([find_binary(), "-c", config], stderr=log)  # noqa: S603  # our own binary
        self.url = wait_for(self._listening, "nats-server to listen")
        self._port = int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)
            self._process.wait(10)
            self._process = None

    def _listening(self) -> str:
        if self._process is not None and self._process.poll() is not None:
            raise EmbeddedError(f"nats-server ended during its start; see {self.root}/server.log")
        for file in self.root.glob("*.ports"):
            try:
                urls: list[Any] = json.loads(file.read_text())["nats"]
            except (ValueError, KeyError):  # half written
                return ""
            return str(urls[0])
        return ""


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    """Wait until `condition` returns a true value, and return it. Raises TimeoutError, which names `what`."""
    deadline = monotonic() + seconds
    while True:
        if found := condition():
            return found
        if monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s for {what}")
        sleep(0.005)


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    """Wait until `condition` holds. Raises TimeoutError after `seconds`."""
    with anyio.fail_after(seconds):
        while not await condition():  # noqa: ASYNC110  # the condition is in another process
            await anyio.sleep(0.02)
