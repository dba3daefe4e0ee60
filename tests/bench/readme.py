"""The README's table, between its two markers: what a run found for the cases that have a headline."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from tests.bench.conductor import Measured
from tests.bench.lines import ROOT

README = ROOT / "README.md"
BEGIN, END = "<!-- bench -->\n", "<!-- /bench -->\n"
HEAD, RULE = "| medians in ms | ours | theirs | theirs ÷ ours |", "|---|--:|--:|--:|"


def table(measured: list[Measured], before: str, order: list[str]) -> str:
    """The table of `before` with a row for each headline that was measured, in this order; others stay as they were."""
    rows = {line.split("|")[1].strip(): line for line in before.splitlines() if line.count("|") > 4}
    rows |= {entry.headline: _row(entry) for entry in measured if entry.headline and entry.ratio}
    return "\n".join([HEAD, RULE, *(rows[name] for name in order if name in rows), ""])


def write(measured: list[Measured], order: list[str], path: Path = README) -> None:
    """Put the table between the markers.

    Raises:
        ValueError: the file has no markers.
    """
    before, rest = _halves(path.read_text(), BEGIN)
    old, after = _halves(rest, END)
    path.write_text(f"{before}{BEGIN}{table(measured, old, order)}{END}{after}")


def _row(entry: Measured) -> str:
    ours, theirs = median(entry.ours), median(entry.theirs)
    return f"| {entry.headline} | {_ms(ours)} | {entry.peer} {_ms(theirs)} | {theirs / ours:.2f} |"


def _halves(text: str, marker: str) -> tuple[str, str]:
    before, found, after = text.partition(marker)
    if not found:
        raise ValueError(f"There is no line {marker.strip()}")
    return before, after


def _ms(middle: float) -> str:
    return f"{middle:,.0f}" if middle >= 20 else f"{middle:.1f}"
