"""The checkout, and the variables that `broker-plane env` writes for its deployment files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def written_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of the file that `broker-plane env FILE` writes."""
    path = tmp_path_factory.mktemp("env") / ".env"
    subprocess.run([sys.executable, "-m", "broker_plane.cli.main", "env", path], check=True, timeout=60)
    assert path.stat().st_mode & 0o777 == 0o600
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


@pytest.fixture(scope="session")
def bare_env() -> dict[str, str]:
    """This process's environment without any of our variables."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("BROKER_PLANE_", "BP_"))}
