"""Figures that a test measured: printed, and kept for the table of aims where a file for them is named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Protocol

FIGURES_FILE = "BROKER_PLANE_TEST_FIGURES"
"""Names the file that figures are appended to, one JSON object a line."""
_RUNNING = "PYTEST_CURRENT_TEST"  # pytest's own: the test's id and its phase


class Figure(Protocol):
    """Records one measured figure beside its aim; see the fixture `figure`."""

    def __call__(self, row: str, measured: str, *, aim: str, met: bool) -> None: ...


def record(row: str, measured: str, *, aim: str, met: bool) -> None:
    """Print the figure, and append it to the file that `FIGURES_FILE` names.

    A figure that misses its aim fails nothing: the test asserts what must hold, with bounds of its own.
    """
    print(f"{row}: {measured} (aim: {aim}; {'met' if met else 'NOT met'})")
    file = os.environ.get(FIGURES_FILE)
    if file:
        test = os.environ.get(_RUNNING, "").rpartition(" (")[0]
        with Path(file).open("a") as lines:
            lines.write(json.dumps({"row": row, "measured": measured, "aim": aim, "met": met, "test": test}) + "\n")
