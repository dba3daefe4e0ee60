"""The index of the decisions: number, title, date and status of each, read from the pages themselves."""

from __future__ import annotations

import re
from pathlib import Path

DECISIONS = Path(__file__).resolve().parents[1] / "docs" / "decisions"
_HEAD = re.compile(r"# (\d{4}): (.+)\n\n(\w[\w ]*) · (\d{4}-\d\d-\d\d)\n")
_TEXT = """# Decisions

Each page says what was decided, why, what was measured, and what it costs. A decision that no longer
holds keeps its number and is marked as superseded. Numbers 0015 to 0020 and 0042 are not in use.

| Number | Title | Date | Status |
|---|---|---|---|
"""


def page() -> str:
    """The table of all decisions, in the order of their numbers.

    Raises:
        ValueError: a page has no number, title, status and date at its beginning.
    """
    return _TEXT + "\n".join(_row(path) for path in sorted(DECISIONS.glob("0*.md"))) + "\n"


def _row(path: Path) -> str:
    found = _HEAD.match(path.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{path.name} begins with '# NNNN: title', an empty line, and 'status · date'")
    number, title, status, date = found.groups()
    return f"| [{number}]({path.name}) | {title} | <time>{date}</time> | {status} |"
