"""`broker-plane up` in the foreground: from the moment that it says where it runs, a signal ends all of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from broker_plane.embedded import broker


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_up_started_ends_with_it_however_soon(tmp_path: Path, number: signal.Signals) -> None:
    root = tmp_path / "store"
    command = [sys.executable, "-m", "broker_plane.cli.main", "up", "--json"]
    env = {**os.environ, "BROKER_PLANE_DATA_DIR": str(root)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert orjson.loads(process.stdout.readline())["bridge"]
        process.send_signal(number)
        assert process.wait(20) == 0
    assert broker.find(root) is None


def test_who_attached_leaves_what_was_running_before(tmp_path: Path) -> None:
    root = tmp_path / "store"
    command = [sys.executable, "-m", "broker_plane.cli.main", "up", "--json"]
    env = {**os.environ, "BROKER_PLANE_DATA_DIR": str(root)}
    try:
        subprocess.run([*command, "--detach"], env=env, check=True, stdout=subprocess.PIPE, timeout=30)
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as process:
            assert process.stdout
            process.stdout.readline()
            process.terminate()
            assert process.wait(20) == 0
        assert broker.find(root) is not None
    finally:
        broker.stop(root)
