"""The files that Python needs, and no others: for sandboxes that show a process only what they are given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from broker_plane.sandbox import child, runtime_probe

_PROBE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class PythonRuntime:
    """A Python and its files. Paths are absolute; they are the same inside a sandbox as outside."""

    executable: str
    folders: tuple[str, ...]
    """The standard library."""
    hidden: tuple[str, ...]
    """Folders within it that belong to installed packages."""
    libraries: tuple[str, ...]
    """Shared libraries outside of it, the dynamic linker included."""

    @property
    def library_path(self) -> str:
        """A value for LD_LIBRARY_PATH: a sandbox has no cache of the linker."""
        return os.pathsep.join(dict.fromkeys(str(Path(path).parent) for path in self.libraries))


CHILD_SCRIPT = Path(child.__file__)

CHILD_OPTIONS = ("-I", "-S", "-B", "-X", "utf8")
"""No environment, no site-packages, nothing written."""


@cache
def python_runtime() -> PythonRuntime:
    """The runtime of this process, without its virtual environment.

    Raises:
        OSError, ValueError, subprocess.SubprocessError: it cannot be found out.
    """
    # An environment's `python` is a link to this one, and finds its library by a file beside it.
    executable = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
    probe = [executable, *CHILD_OPTIONS, runtime_probe.__file__]
    said = subprocess.run(  # noqa: S603
        probe, env={}, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_SECONDS, check=True
    )
    found = json.loads(said.stdout)
    folders = tuple(map(str, found["folders"]))
    libraries = tuple(
        str(path) for path in found["libraries"] if not any(Path(path).is_relative_to(f) for f in folders)
    )
    hidden = tuple(
        path
        for folder in folders
        for path in (f"{folder}/site-packages", f"{folder}/dist-packages")
        if Path(path).is_dir()
    )
    return PythonRuntime(executable, folders, hidden, libraries)
