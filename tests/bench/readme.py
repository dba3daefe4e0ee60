"""The tables of docs/performance.md (each case with a headline) and of the README (four of them), between markers."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from tests.bench.conductor import Measured
from tests.bench.lines import ROOT

README = ROOT / "README.md"
ALL = ROOT / "docs" / "performance.md"
IN_README = (
    "tool to tool through an agent, over stdio, 1,000 x 29",
    "5 MB pulled by a new client",
    "5 MB to 64 readers over HTTP",
    "100 MB over the presigned subject",
)
"""Headlines of the README's rows: two beside the reference implementation, one beside nginx, one that is slower."""

BEGIN, END = "<!-- bench -->\n", "<!-- /bench -->\n"
HEAD, RULE = "| medians in ms | ours | theirs | theirs ÷ ours |", "|---|--:|--:|--:|"


def table(measured: list[Measured], before: str, order: list[str]) -> str:
    """The table of `before` with a row for each headline that was measured, in this order; others stay as they were."""
    rows = {line.split("|")[1].strip(): line for line in before.splitlines() if line.count("|") > 4}
    rows |= {entry.headline: _row(entry) for entry in measured if entry.headline and entry.ratio}
    return "\n".join([HEAD, RULE, *(rows[name] for name in order if name in rows), ""])


def write_all(measured: list[Measured], order: list[str]) -> None:
    """Put every row that was measured into docs/performance.md, and those of the README into that as well."""
    write(measured, order, ALL)
    write([each for each in measured if each.headline in IN_README], list(IN_README), README)


def write(measured: list[Measured], order: list[str], path: Path) -> None:
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
