"""nats-servers as others run them: any configuration, started and ended by the test."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from broker_plane.embedded.nats_server import find_binary
from broker_plane.testing.server import wait_for

JETSTREAM = 'jetstream {{ store_dir: "{root}/js", max_file_store: 1GB }}\n'


class Server:
    """One nats-server; `port` stays the same when it is started again."""

    def __init__(self, root: Path, config: str) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.config = config
        self.host = "127.0.0.1"
        self.port = -1
        self.ports: dict[str, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        for old in self.root.glob("*.ports"):
            old.unlink()
        head = f'server_name: {self.root.name}\nhost: "{self.host}"\nport: {self.port}\nports_file_dir: "{self.root}"\n'
        file = self.root / "server.conf"
        file.write_text(head + self.config.format(root=self.root))
        with (self.root / "server.log").open("ab") as log:
            self._process = subprocess.Popen([find_binary(), "-c", file], stderr=log)
        self.ports = wait_for(self._listening, f"nats-server to listen; see {self.root}/server.log")
        self.port = int(self.ports["nats"][0].rpartition(":")[2])

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _listening(self) -> Any:
        assert self._process is not None
        assert self._process.poll() is None, (self.root / "server.log").read_text()
        for file in self.root.glob("*.ports"):
            try:
                return json.loads(file.read_text())
            except ValueError:  # half written
                return None
        return None


@contextmanager
def running(root: Path, config: str) -> Iterator[Server]:
    server = Server(root, config)
    server.start()
    try:
        yield server
    finally:
        server.stop()
