"""Callables that policies of these tests name."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def accepts(value: Any) -> None:
    """Accept everything, and print where answers must not go."""
    print("noise", flush=True)


def short(value: str) -> str | bool:
    """Refuse long texts."""
    return True if len(value) < 10 else f"{len(value)} characters are too many"


def broken(value: Any) -> bool:
    raise KeyError("missing")


def hangs(value: Any) -> None:
    """Write the ids of this process and of a child to the file that `value` names, and never return."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    Path(value).write_text(f"{os.getpid()} {child.pid}")
    while True:
        time.sleep(1)


def ends(value: Any) -> None:
    os._exit(3)
