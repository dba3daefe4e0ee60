"""Another module as a process whose wall clock is off: `python -m tests.faults.skewed <file> <module> <arguments>`.

The file holds the seconds by which it is ahead, and is read at each look at the clock, so that a test can step it.
"""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path

_right = time.time


def main() -> None:
    ahead = Path(sys.argv[1])
    time.time = lambda: _right() + float(ahead.read_text())
    del sys.argv[:2]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
