"""A home: a data directory of its own, the real nats-server, the stand-in bridge, and an end for all of it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import psutil
import pytest

from broker_plane.config import Settings, load_settings
from broker_plane.embedded import broker
from broker_plane.embedded.broker import Attachment

Result = TypeVar("Result")
WAIT_SECONDS = 20.0
BRIDGE = [sys.executable, str(Path(__file__).with_name("stand_in_bridge.py"))]

ATTACH = """
import json, sys
from broker_plane.config import load_settings
from broker_plane.embedded.broker import attach
with attach(load_settings(data_dir=sys.argv[1]), bridge_command=json.loads(sys.argv[2])) as attachment:
    print(json.dumps([attachment.running.pid, attachment.started]), flush=True)
    sys.stdin.read()
"""


class Home:
    """One data directory, and what a test starts there."""

    bridge: Sequence[str] = BRIDGE

    def __init__(self, root: Path, source: Path) -> None:
        self.root = root
        self.source = source
        self._attachments: list[Attachment] = []
        self._processes: list[subprocess.Popen[str]] = []

    def settings(self, **settings: object) -> Settings:
        return load_settings(**{"data_dir": self.root, "max_store_bytes": 1 << 30, **settings})

    def attach(self, *, port: int = 0, bridge: Sequence[str] = BRIDGE, **settings: object) -> Attachment:
        attachment = broker.attach(
            self.settings(**settings), bridge_command=bridge, port=port, wait_seconds=WAIT_SECONDS
        )
        self._attachments.append(attachment)
        return attachment

    def attaching_process(self, **settings: int) -> subprocess.Popen[str]:
        """A process that attaches, says `[pid of the supervisor, started]`, and stays until its input ends."""
        process = subprocess.Popen(
            [sys.executable, "-c", ATTACH, str(self.root), json.dumps(self.bridge)],
            cwd=self.source,
            env={**os.environ, "PYTHONPATH": str(self.source), **_variables({"max_store_bytes": 1 << 30, **settings})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._processes.append(process)
        return process

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()
        for attachment in self._attachments:
            attachment.close()
        if self.root.is_dir():
            broker.stop(self.root, wait_seconds=WAIT_SECONDS)


def _variables(settings: dict[str, int]) -> dict[str, str]:
    return {f"BROKER_PLANE_{name.upper()}": str(value) for name, value in settings.items()}


@pytest.fixture
def home(tmp_path: Path, pytestconfig: pytest.Config) -> Iterator[Home]:
    home = Home(tmp_path / "data", pytestconfig.rootpath)
    yield home
    home.end()


class Runner(Protocol):
    """Runs a coroutine to its end in a loop of its own."""

    def __call__(self, work: Coroutine[Any, Any, Result], /) -> Result: ...


@pytest.fixture
def run() -> Runner:
    return asyncio.run


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Wait until the condition holds, and fail if it does not in a time that is long for all of them."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true"
            time.sleep(0.01)

    return wait


@pytest.fixture
def is_alive() -> Callable[[int], bool]:
    def alive(pid: int) -> bool:
        try:
            return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    return alive
