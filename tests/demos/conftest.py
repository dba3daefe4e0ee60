"""Demos and servers run as people start them: as modules of the checkout, on a broker of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

Start = Callable[..., subprocess.CompletedProcess[str]]
WAIT_SECONDS = 240


@pytest.fixture(scope="session")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a broker that only these tests use; it is ended after the last of them."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_PLANE_")}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    homes = {"BROKER_PLANE_DATA_DIR": "plane", "TMPDIR": "charts"}
    env = kept | {name: str(tmp_path_factory.mktemp(home)) for name, home in homes.items()} | {"PYTHONPATH": path}
    yield env
    subprocess.run([sys.executable, "-m", "broker_plane.cli.main", "down"], env=env, timeout=60, check=False)


@pytest.fixture(scope="session")
def start(own_broker: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Run `python -m <arguments>` in an empty directory, to its end."""
    directory = tmp_path_factory.mktemp("elsewhere")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *arguments],
            env=own_broker,
            cwd=directory,
            timeout=WAIT_SECONDS,
            capture_output=True,
            text=True,
            check=False,
        )

    return run
