"""`broker-plane doctor` says which sandboxes a machine has for generated code, and why not the others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from broker_plane.sandbox.ladder import Ladder


def doctor(directory: Path, *options: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "broker_plane.cli.main", "doctor", *options],
        env={**os.environ, "BROKER_PLANE_DATA_DIR": str(directory), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_doctor_names_the_sandboxes_best_first(tmp_path: Path) -> None:
    found = json.loads(doctor(tmp_path, "--json"))["sandbox"]
    assert found["available"] == Ladder().available()
    assert [*found["available"], *found["missing"]] and all(found["missing"].values())


def test_doctor_says_why_a_sandbox_is_missing_and_does_not_fail(tmp_path: Path) -> None:
    lines = dict(line.split("\t", 1) for line in doctor(tmp_path, PATH="/nowhere").splitlines())
    assert "; bwrap: the program bwrap is not installed: apt install bubblewrap" in lines["sandbox"]
    assert lines["sandbox"].split(" ")[0].rstrip(";") in ("monty", "sandlock", "none,")
