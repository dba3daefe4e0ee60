"""`broker-plane`, in this process where that is enough, and as a process where signals and descriptors matter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from broker_plane.cli.main import app_of

PATIENCE = 60


class CommandLine:
    def __init__(self, nats_url: str, bridge_url: str, data_dir: Path) -> None:
        self.environment = {
            "BROKER_PLANE_NATS_URL": nats_url,
            "BROKER_PLANE_BRIDGE_URL": bridge_url,
            "BROKER_PLANE_DATA_DIR": str(data_dir),
        }

    def ran(self, command: str, *arguments: object, given: bytes = b"") -> Result:
        """How a command ended; never with a traceback."""
        runner = CliRunner()
        app = app_of(command)
        result = runner.invoke(app, [command, *map(str, arguments)], input=given, env=self.environment)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    def run(self, command: str, *arguments: object, given: bytes = b"") -> bytes:
        """What a command that succeeds writes to standard output."""
        result = self.ran(command, *arguments, given=given)
        assert result.exit_code == 0, result.stderr
        return result.stdout_bytes

    def refused(self, command: str, *arguments: object, given: bytes = b"") -> str:
        """What a command that fails says, in one line."""
        result = self.ran(command, *arguments, given=given)
        assert result.exit_code != 0
        return result.stderr.strip()

    def publish(self, file: object, *options: object, given: bytes = b"") -> str:
        """The `resource_url` of a file."""
        made: dict[str, Any] = json.loads(
            self.run("publish", file, "--uses", "unlimited", "--json", *options, given=given)
        )
        return str(made["resource_url"])

    def rows(self, url: str, *options: object) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("pull", url, "--format", "json", *options))
        return found

    def start(self, *arguments: object, **options: Any) -> subprocess.Popen[bytes]:
        """A command as a process."""
        return subprocess.Popen(
            [sys.executable, "-m", "broker_plane.cli.main", *map(str, arguments)],
            env={**os.environ, **self.environment},
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )
