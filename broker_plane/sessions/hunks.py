"""Applies a unified diff to a text. Pure.

Models often write wrong line numbers and counts into the headers of hunks. So the lines decide: a hunk belongs where
its header says if its old lines are there, and else at the only place after the hunk before it that has them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from broker_plane.errors import ChangeError
from broker_plane.sessions.diffs import LINE

_HEADER = re.compile(r"@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@")


@dataclass(slots=True)
class _Hunk:
    number: int
    """The line of the diff that it starts at."""
    named: int
    """The line of the text that its header names, from 1; without old lines, the one that it inserts after."""
    old: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)


def patched(text: str, diff: str) -> str:
    """The text after a unified diff.

    Raises:
        ChangeError: it is not a unified diff, or its lines are not in the text; the message names the hunk.
    """
    old = LINE.findall(text)
    new: list[str] = []
    at = 0
    for hunk in _hunks(diff):
        place = _place(hunk, old, at)
        new += old[at:place] + hunk.new
        at = place + len(hunk.old)
    return "".join(new + old[at:])


def _hunks(diff: str) -> list[_Hunk]:
    hunks: list[_Hunk] = []
    sides: list[list[str]] = []
    for number, line in enumerate(diff.rstrip("\n").split("\n"), 1):
        if match := _HEADER.match(line):
            hunks.append(_Hunk(number, int(match[1])))
        elif line.startswith("\\"):
            for side in sides:
                side[-1] = side[-1].removesuffix("\n")
            sides = []
        elif hunks:
            sides = _sides(hunks[-1], line, number)
            for side in sides:
                side.append(f"{line[1:]}\n")
        elif not line.startswith(("--- ", "+++ ", "diff ", "index ")) and line.strip():
            raise ChangeError(f"Line {number} of the diff comes before the first hunk, which starts with '@@ -'")
    if not hunks:
        raise ChangeError("The diff has no hunk, which starts with '@@ -<line>,<count> +<line>,<count> @@'")
    return hunks


def _sides(hunk: _Hunk, line: str, number: int) -> list[list[str]]:
    """The sides that a line of a hunk is on. Editors and models drop the space of an empty line."""
    match line[:1]:
        case "-":
            return [hunk.old]
        case "+":
            return [hunk.new]
        case " " | "":
            return [hunk.old, hunk.new]
    raise ChangeError(f"Line {number} of the diff starts with none of '-', '+' and a space")


def _place(hunk: _Hunk, lines: list[str], at: int) -> int:
    """The line of the text, from 0, at which a hunk starts."""
    size = len(hunk.old)
    if not size:
        return min(max(hunk.named, at), len(lines))
    start = hunk.named - 1
    if start >= at and lines[start : start + size] == hunk.old:
        return start
    places = [place for place in range(at, len(lines) - size + 1) if lines[place : place + size] == hunk.old]
    if len(places) == 1:
        return places[0]
    problem = "is not in the text" if not places else f"is in the text {len(places)} times"
    raise ChangeError(f"What the hunk at line {hunk.number} of the diff replaces {problem}")
