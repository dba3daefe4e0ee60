"""The table: for each aim what was measured and whether it is met, and what was not measured."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

MET, NOT_MET, NOT_MEASURED = "met", "NOT met", "not measured"
AIMS = {
    "bombs": r"\bbombs?\b|hostile (bod|answer)",
    "disk full": r"\b(disk|store)s? (is )?full\b|\bfull (disk|store)",
    "three nodes": r"three nodes|cluster",
    "fan-out": r"\bfan-?out\b",
    "damage": r"\bdamage",
    "clock": r"\bclock",
    "adversarial model": r"adversar|\bmodel\b",
    "cut downloads": r"\bcut(ting)?\b",
    "internal spellings": r"spelling|ipv6|internal address",
    "health under attack": r"/healthz|/readyz|bystander|hostile request|under attack|memory of the bridge",
}
"""The aims that must have a figure, and the words by which the row of a figure is seen to be one for it."""
OTHERS = "others"


@dataclass(frozen=True)
class Line:
    """A row of the table."""

    topic: str
    row: str
    measured: str
    aim: str
    met: str

    def as_json(self) -> dict[str, str]:
        return {"topic": self.topic, "row": self.row, "measured": self.measured, "aim": self.aim, "met": self.met}


def topic_of(row: str) -> str:
    """Of which aim this is a figure: the first whose words are in it."""
    return next((topic for topic, words in AIMS.items() if re.search(words, row, re.IGNORECASE)), OTHERS)


def lines_of(figures: Sequence[Mapping[str, Any]], ended: Mapping[str, tuple[str, str]], *, whole: bool) -> list[Line]:
    """Figures in the order of the aims. What a failed test measured does not meet its aim.

    A test without a figure has a row, too, and so has an aim without one if `whole`: all tests were asked for.
    """
    found = [_line(figure, ended) for figure in figures]
    silent = set(ended) - {figure["test"] for figure in figures}
    found += [_silent(test, *ended[test]) for test in ended if test in silent]
    missing = AIMS.keys() - {line.topic for line in found} if whole else set()
    found += [Line(topic, "—", "no test recorded a figure", "", NOT_MEASURED) for topic in missing]
    order = [*AIMS, OTHERS]
    return sorted(found, key=lambda line: order.index(line.topic))


def _line(figure: Mapping[str, Any], ended: Mapping[str, tuple[str, str]]) -> Line:
    outcome, reason = ended.get(figure["test"], ("", ""))
    met = MET if figure["met"] else NOT_MET
    if outcome == "failed":
        met = f"{NOT_MET}: the test failed, {reason}"
    return Line(topic_of(figure["row"]), figure["row"], figure["measured"], figure["aim"], met)


def _silent(test: str, outcome: str, reason: str) -> Line:
    met = NOT_MET if outcome == "failed" else NOT_MEASURED
    # The words of a test's name are apart by underscores.
    return Line(topic_of(re.sub(r"[_:/]", " ", test)), test, f"{outcome}: {reason}" if reason else outcome, "", met)


def as_table(lines: Sequence[Line]) -> Table:
    table = Table("", "row", "aim", "measured", "met")
    for line, after in zip(lines, [*lines[1:], None], strict=True):
        style = None if line.met == MET else "bold red" if line.met.startswith(NOT_MET) else "dim"
        texts = (escape(text) for text in (line.topic, line.row, line.aim, line.measured, line.met))
        table.add_row(*texts, style=style, end_section=after is None or after.topic != line.topic)
    return table
