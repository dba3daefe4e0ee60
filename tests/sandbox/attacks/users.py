"""Runs the battery as the user of the tests, and as another one who may do nothing in particular."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest

Who = Literal["self", "other"]

ROOT = Path(__file__).resolve().parents[3]
OTHER = 61001
"""A user id that nobody has."""

_SECONDS = 560.0
_IMPORTS = "import broker_plane.sandbox.ladder, psutil"


def whos() -> list[Who]:
    """Who the battery can run as: only root can become another user."""
    return ["self", "other"] if os.geteuid() == 0 else ["self"]


def battery(who: Who, *arguments: str) -> list[dict[str, Any]]:
    """The lines of one battery, run by this user."""
    done = _run(who, ["-m", "tests.sandbox.attacks.battery", *arguments])
    if done.returncode != 0:
        raise AssertionError(f"the battery broke: {done.stderr[-3000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def _run(who: Who, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    other = {"user": OTHER, "group": OTHER, "extra_groups": []} if who == "other" else {}
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [_interpreter(who), *arguments],
        cwd=ROOT,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        **other,  # type: ignore[call-overload]
    )
    return done


def _environment() -> dict[str, str]:
    packages = os.pathsep.join([str(ROOT), *(path for path in sys.path if "site-packages" in path)])
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "CI", "LANG")}
    return {**kept, "PYTHONPATH": packages, "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent"}


@cache
def _interpreter(who: Who) -> str:
    """A Python that this user can run: ours, or the system's of the same version if ours is in a private folder.

    The test is skipped where there is neither, or where the checkout itself is in a private folder.
    """
    if who == "self":
        return sys.executable
    system = Path("/usr/bin") / f"python{sysconfig.get_python_version()}"
    for candidate in (sys.executable, str(system)):
        try:
            done = subprocess.run(
                [candidate, "-c", _IMPORTS],
                cwd=ROOT,
                env=_environment(),
                user=OTHER,
                group=OTHER,
                extra_groups=[],
                capture_output=True,
                timeout=_SECONDS,
            )
        except OSError:
            continue
        if done.returncode == 0:
            return candidate
    pytest.skip(f"user {OTHER} can run no Python that has the packages of the tests: folders above them are private")
