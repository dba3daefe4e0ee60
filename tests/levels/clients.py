"""Processes that carry out descriptors of foreign protocols, over one broker and with one scripted provider."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demos.levels_scripted import calls_in
from tests import forked
from tests.docs.runner import environment
from tests.levels.foreign import ROOT

SECONDS = 240


@dataclass(frozen=True, slots=True)
class Ran:
    """How a transfer ended: what its process printed, and the file that it left, None if there is none."""

    said: dict[str, Any]
    text: str
    content: bytes | None

    @property
    def level(self) -> tuple[str, int]:
        return self.said["level"], self.said["provider_calls"]


class Clients:
    """Starts the processes. `texts` is everything that they printed."""

    def __init__(self, nats_url: str, directory: Path) -> None:
        self.directory = directory
        self.texts: list[str] = []
        self._scripted = directory / "provider"
        self._scripted.mkdir()
        self._runs = 0
        self._environment = environment(directory / "data") | {
            "PYTHONPATH": str(ROOT),
            "BROKER_PLANE_NATS_URL": nats_url,
            "BROKER_PLANE_BRIDGE_URL": "http://127.0.0.1:9",  # nobody needs one, and each process would start its own
            "BROKER_PLANE_TRANSFER_NETWORKS": "127.0.0.0/8",
            "BROKER_PLANE_LOG_LEVEL": "debug",
        }

    @property
    def provider(self) -> str:
        return f"command:{shlex.join([sys.executable, '-m', 'demos.levels_scripted', str(self._scripted)])}"

    def calls(self, protocol: str) -> int:
        """How often the provider was asked for code for a protocol, by all processes."""
        return sum(call.protocol == protocol for call in calls_in(self._scripted))

    def prompt(self, answer: str) -> str:
        """The prompt to which `answer` was the answer."""
        return (self._scripted / f"prompt-{answer}.txt").read_text()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`broker-plane …`."""
        return self._process("broker_plane.cli.main", *arguments)

    def run(self, descriptor: dict[str, Any]) -> Ran:
        """`broker-plane levels run`."""
        self._runs += 1
        name = f"{self._runs}-{descriptor['protocol']}"
        given, target = self.directory / f"{name}.descriptor", self.directory / f"{name}.csv"
        given.write_text(json.dumps(descriptor))
        done = self.command("levels", "run", str(given), "--provider", self.provider, "-o", str(target), "--json")
        return _ran(json.loads(done.stdout) if done.returncode == 0 else {}, done, target)

    def run_all(self, descriptors: list[dict[str, Any]]) -> list[Ran]:
        """One process that carries out all of them, through `plane.levels`."""
        self._runs += 1
        job = {"phase": str(self._runs), "directory": str(self.directory), "provider": self.provider}
        done = self._process("demos.levels_agent", said=json.dumps(job | {"descriptors": descriptors}) + "\n")
        outcomes = [json.loads(line) for line in done.stdout.splitlines()]
        assert [each["protocol"] for each in outcomes] == [each["protocol"] for each in descriptors], done.stderr
        return [_ran(each, done, self.directory / f"{self._runs}-{each['protocol']}.csv") for each in outcomes]

    def _process(self, module: str, *arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
        done = forked.run(module, *arguments, env=self._environment, cwd=self.directory, text=said, seconds=SECONDS)
        self.texts.append(done.stdout + done.stderr)
        return done


def _ran(said: dict[str, Any], done: subprocess.CompletedProcess[str], target: Path) -> Ran:
    return Ran(said, done.stdout + done.stderr, target.read_bytes() if target.exists() else None)
