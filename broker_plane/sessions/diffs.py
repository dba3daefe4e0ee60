"""Differences of two values of an artifact, as people and models read them: unified diffs. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from broker_plane.sessions.alignment import Aligned, Effort, align
from broker_plane.sessions.canonical import plain
from broker_plane.sessions.replicas.port import ArtifactKind, Value

LONGEST: Final = 16_384
"""Characters of a diff; what is longer is cut at a line, and says so."""

_CONTEXT = 3
_LONGEST_LINE = 1_000
NO_LINE_FEED: Final = "\\ No newline at end of file"
"""Follows a line of a diff that has no line feed in the text."""

LINE: Final = re.compile(r"[^\n]*\n|[^\n]+")


def unified(kind: ArtifactKind, before: Value, after: Value, most: int = LONGEST) -> str:
    """The unified diff of two values, at most `most` characters long; empty if they are equal.

    A text is compared by lines. JSON has one member or item on a line, members sorted; a table has one row on a line.
    """
    old, new = lines(kind, before), lines(kind, after)
    if old == new:
        return ""
    found: list[str] = []
    size = 0
    for line in _diff_lines(old, new):
        shown = (
            line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}… (a line of {len(line) - 1} characters)"
        )
        size += len(shown) + 1
        if size > most:
            found.append("… The diff is longer than this. Read the artifact itself")
            break
        found.append(shown)
    return "\n".join(found)


def lines(kind: ArtifactKind, value: Value) -> list[str]:
    """A value as lines, each with its line feed; only the last line of a text may have none."""
    if kind == "text":
        return LINE.findall(value)
    if kind == "table":
        return [json.dumps(plain(row), ensure_ascii=False, sort_keys=True) + "\n" for row in value]
    text = json.dumps(plain(value), ensure_ascii=False, sort_keys=True, indent=2)
    return [f"{line}\n" for line in text.split("\n")]


def _diff_lines(old: list[str], new: list[str]) -> Iterator[str]:
    """The hunks, without the two lines that name files."""
    for hunk in _hunks(align(old, new, Effort())):
        first, last = hunk[0], hunk[-1]
        yield f"@@ -{_range(first.start, last.end)} +{_range(first.new_start, last.new_end)} @@"
        for block in hunk:
            if block.equal:
                yield from _marked(" ", old[block.start : block.end])
            else:
                yield from _marked("-", old[block.start : block.end])
                yield from _marked("+", new[block.new_start : block.new_end])


def _hunks(blocks: list[Aligned]) -> Iterator[list[Aligned]]:
    """The blocks that differ, with some equal lines around them; those that are near each other are one hunk."""
    hunk: list[Aligned] = []
    for index, block in enumerate(blocks):
        size = block.end - block.start
        if not block.equal or (hunk and size <= 2 * _CONTEXT and index < len(blocks) - 1):
            hunk.append(block)
            continue
        keep = min(_CONTEXT, size)
        if hunk:
            yield [*hunk, Aligned(block.start, block.start + keep, block.new_start, block.new_start + keep, True)]
        hunk = [Aligned(block.end - keep, block.end, block.new_end - keep, block.new_end, True)]
    if any(not block.equal for block in hunk):
        yield hunk


def _range(start: int, end: int) -> str:
    """Lines as a header names them: the first one, from 1, and how many; without any, the line before them."""
    count = end - start
    return f"{start + 1}" if count == 1 else f"{start + (count > 0)},{count}"


def _marked(mark: str, lines_of_side: list[str]) -> Iterator[str]:
    for line in lines_of_side:
        yield mark + line.removesuffix("\n")
        if not line.endswith("\n"):
            yield NO_LINE_FEED
