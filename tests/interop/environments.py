"""Python environments of others, each made once from PyPI and kept in a cache directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from tests.interop.conftest import alone, cache

_PIP_SECONDS = 300


def python_with(name: str, *requirements: str) -> Path:
    """The interpreter of an environment that has `requirements`; the test is skipped where they cannot be had."""
    requirement = " ".join(requirements)
    directory = cache(name) or Path(platformdirs.user_cache_dir("broker-plane")) / "tests" / name
    python = directory / "bin" / "python"
    made = directory / "made"
    with alone(directory):
        if not made.exists() or made.read_text() != requirement:
            subprocess.run([sys.executable, "-m", "venv", "--clear", directory], check=True)
            command = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *requirements]
            done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_SECONDS, check=False)
            if done.returncode:
                pytest.skip(f"{requirement} cannot be installed: {done.stderr[-200:]}")
            made.write_text(requirement)
    return python
