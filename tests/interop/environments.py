"""Python environments of others, each made once from PyPI and kept in a cache directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from tests.interop.conftest import alone, cache

_PIP_SECONDS = 300


def make_environment(directory: Path) -> None:
    """An empty environment, in place of what is there. Without pip, whose installation takes seconds: see `pip_for`."""
    subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", directory], check=True)


def pip_for(python: Path) -> list[str]:
    """The command of pip for the environment of that interpreter: this environment's pip."""
    return [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]


def pip_install(python: Path) -> list[str]:
    """The command that installs into the environment of that interpreter, without compiling what is hardly used."""
    return [*pip_for(python), "install", "-q", "--no-compile"]


def python_with(name: str, *requirements: str) -> Path:
    """The interpreter of an environment that has `requirements`; the test is skipped where they cannot be had."""
    requirement = " ".join(requirements)
    directory = cache(name) or Path(platformdirs.user_cache_dir("broker-plane")) / "tests" / name
    python = directory / "bin" / "python"
    made = directory / "made"
    with alone(directory):
        if not made.exists() or made.read_text() != requirement:
            make_environment(directory)
            done = subprocess.run(
                [*pip_install(python), *requirements], capture_output=True, text=True, timeout=_PIP_SECONDS, check=False
            )
            if done.returncode:
                pytest.skip(f"{requirement} cannot be installed: {done.stderr[-200:]}")
            made.write_text(requirement)
    return python
