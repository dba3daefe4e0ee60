"""How a run is shown: a table for people, an object for programs."""

from __future__ import annotations

import os
import platform
from statistics import median
from typing import Any

from rich.table import Table

from tests.bench.conductor import Measured


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_before": os.getloadavg()[0],
    }


def _cell(samples: list[float]) -> str:
    if not samples:
        return "—"
    return f"{median(samples):,.2f}  [dim]{min(samples):,.2f} to {max(samples):,.2f}[/dim]"


def as_table(measured: list[Measured], peer: str) -> Table:
    """Medians with the smallest and largest sample, and how many times smaller ours is."""
    table = Table("", "what", "unit", "ours", peer, "theirs ÷ ours", title="median  smallest to largest")
    for column in table.columns[3:]:
        column.justify = "right"
    for last, entry in zip(measured, [*measured[1:], None], strict=True):
        ratio = f"{last.ratio:.2f}" if last.ratio else "—"
        ends = entry is None or entry.group != last.group
        table.add_row(last.group, last.name, last.unit, _cell(last.ours), _cell(last.theirs), ratio, end_section=ends)
    return table
