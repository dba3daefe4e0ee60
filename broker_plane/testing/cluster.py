"""Three nats-servers of one cluster for tests: real processes on loopback, each with a store of its own.

Each can be killed, frozen and started again by itself, on the port and the store that it had.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path

from broker_plane.embedded.nats_server import find_binary, read_port
from broker_plane.errors import EmbeddedError
from broker_plane.testing.server import wait_for

_HOST = "127.0.0.1"
_NAME = "test-cluster"
_CONFIG = """
max_payload: 8MB
max_pending: 256MB
jetstream {
  store_dir: "data"
  max_file_store: 4GB
  sync_interval: always
  limits { default_max_consumers: -1 }
}
"""
_FORMED_SECONDS = 60


class Node:
    """One server of a cluster."""

    def __init__(self, name: str, root: Path, config: Path, route: int, environment: Mapping[str, str]) -> None:
        self.name = name
        self.root = root
        self.port = -1
        self.monitoring = -1
        self._config = config
        self._route = route
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def route(self) -> str:
        """Where the other nodes reach this one."""
        return f"nats://{_HOST}:{self._route}"

    @property
    def running(self) -> bool:
        return self._process is not None

    def spawn(self, routes: Iterable[str]) -> None:
        """Start the process; `listening` waits for it."""
        for old in self.root.glob("*.ports"):
            old.unlink()
        if self.monitoring < 0:
            self.monitoring = free_port()
        command: list[str | Path] = [find_binary(), "-c", self._config, "-n", self.name, "-a", _HOST]
        command += ["-p", str(self.port), "-m", str(self.monitoring)]
        command += ["--ports_file_dir", self.root]
        command += ["--cluster_name", _NAME, "--cluster", self.route, "--routes", ",".join(routes)]
        with (self.root / "server.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own binary
                command, env=self._environment, cwd=self.root, stdout=log, stderr=log
            )

    def listening(self) -> None:
        self.port = wait_for(self._read_port, f"{self.name} to listen", _FORMED_SECONDS)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """It keeps its sockets and answers nothing until `thaw`."""
        os.kill(self._pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._pid, signal.SIGCONT)

    def healthy(self) -> bool:
        """Whether its streams are up to date."""
        try:
            with urllib.request.urlopen(f"http://{_HOST}:{self.monitoring}/healthz", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    @property
    def _pid(self) -> int:
        if self._process is None:
            raise EmbeddedError(f"The node {self.name} is not running")
        return self._process.pid

    def _read_port(self) -> int | None:
        if self._process is not None and self._process.poll() is not None:
            raise EmbeddedError(f"{self.name} ended: {(self.root / 'server.log').read_text()[-500:]}")
        return read_port(self.root, self._pid)

    def _end(self, number: int) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)
            os.kill(self._process.pid, signal.SIGCONT)  # a frozen process ends only when it runs again
            self._process.wait(10)
            self._process = None


class NatsCluster:
    """Nodes with routes to each other. `config` is a file such as nats.conf, `environment` has its variables."""

    def __init__(
        self,
        root: Path,
        *,
        nodes: int = 3,
        config: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        if config is None:
            config = root / "cluster.conf"
            config.write_text(_CONFIG)
        self.nodes: list[Node] = []
        for number in range(nodes):
            directory = root / f"n{number}"
            directory.mkdir()
            self.nodes.append(Node(f"n{number}", directory, config, free_port(), environment or {}))

    def start(self) -> None:
        """Start the nodes that do not run, and wait until the cluster has a leader."""
        starting = [node for node in self.nodes if not node.running]
        for node in starting:
            node.spawn(other.route for other in self.nodes if other is not node)
        try:
            for node in starting:
                node.listening()
            self.wait_healthy()
        except (TimeoutError, EmbeddedError):
            self.stop()
            raise

    def wait_healthy(self) -> None:
        """Every running node is up to date."""
        for node in self.nodes:
            if node.running:
                wait_for(node.healthy, f"{node.name} to be healthy", _FORMED_SECONDS)

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()

    def url(self, *numbers: int, user: str = "", password: str = "") -> str:
        """The address of these nodes as a comma list; of all of them by default."""
        userinfo = f"{user}:{password}@" if user else ""
        chosen = numbers or range(len(self.nodes))
        return ",".join(f"nats://{userinfo}{_HOST}:{self.nodes[number].port}" for number in chosen)

    def node(self, name: str) -> Node:
        """The node of this name, as a stream's leader is named."""
        return next(node for node in self.nodes if node.name == name)


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port
