"""`tests.bench` is importable however pytest was started: its own subprocesses import it by that name too."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)
