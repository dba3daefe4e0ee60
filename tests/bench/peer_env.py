"""The peer's environment: made once from PyPI, kept in a directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import platformdirs

PEER = "mcp-sd==0.1.2"
PIP_SECONDS = 300


class PeerUnreachableError(Exception):
    """The package index does not answer, so there is no peer to measure."""


def default_dir() -> Path:
    """Where the environment is kept unless a directory is given."""
    return Path(platformdirs.user_cache_dir("broker-plane")) / "bench" / PEER.replace("==", "-")


def _python(directory: Path) -> Path:
    return directory / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _is_ready(python: Path) -> bool:
    name, wanted = PEER.split("==")
    program = f"from importlib.metadata import version; raise SystemExit(version({name!r}) != {wanted!r})"
    return python.exists() and subprocess.run([python, "-c", program], capture_output=True).returncode == 0


def peer_python(directory: Path) -> Path:
    """The interpreter of an environment that has the peer; it is made where it is not there yet.

    Raises:
        PeerUnreachableError: the package index cannot be reached.
        RuntimeError: pip refused for another reason.
    """
    python = _python(directory)
    if _is_ready(python):
        return python
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)  # pip itself takes seconds
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--disable-pip-version-check", PEER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_SECONDS)
    if done.returncode != 0:
        # pip tries again only when a connection fails; a package that is not there is said at once.
        unreachable = "Retrying (Retry(" in done.stderr + done.stdout
        raise (PeerUnreachableError if unreachable else RuntimeError)(f"pip install {PEER}: {done.stderr[-500:]}")
    return python
