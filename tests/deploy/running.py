"""nats-server on nats.conf, as an operator starts it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from broker_plane.embedded.nats_server import find_binary
from broker_plane.testing.server import wait_for

from .conftest import ROOT, Command

CONF = ROOT / "nats.conf"
HOST = "127.0.0.2"


class Running:
    """nats-server on `conf`, on free ports, with its store in `directory`."""

    def __init__(self, conf: Path, directory: Path, environment: dict[str, str]) -> None:
        # Another loopback address than the file's, as a container gives it 0.0.0.0.
        places: Command = ["-a", HOST, "-p", "-1", "-m", "-1", "--ports_file_dir", directory]
        with (directory / "log").open("wb") as log:
            command: Command = [find_binary(), "-c", conf, *places]
            self.process = subprocess.Popen(command, env=environment, cwd=directory, stderr=log)
        listed = wait_for(lambda: _ports(directory), "nats-server to listen")
        self.scheme, _, self.address = listed["nats"][0].partition("://")
        self.monitoring: str = listed["monitoring"][0]
        self.directory = directory
        self._environment = environment

    def url(self, user: str = "plane") -> str:
        return f"{self.scheme}://{user}:{self._environment[f'BP_{user.upper()}_PASSWORD']}@{self.address}"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def _ports(directory: Path) -> dict[str, list[str]]:
    for file in directory.glob("*.ports"):
        try:
            ports: dict[str, list[str]] = json.loads(file.read_text())
        except ValueError:  # half written
            continue
        return ports
    return {}
