"""The fenced blocks of the documentation, with the comments above them that say how each is checked.

`<!-- not run: REASON -->`, `<!-- output -->`, `<!-- file: NAME -->` and `<!-- full -->` stand right above a block;
`<!-- setup: plane -->` and `<!-- setup … -->` (hidden Python) stand anywhere and take effect in their order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_PART = re.compile(
    r"^(?P<indent>[ ]*)```(?P<language>[\w-]*)[^\n]*\n(?P<text>.*?)^(?P=indent)```[ ]*$"
    r"|^[ ]*<!--[ ]*(?P<comment>(?:not run|output|file|full|setup).*?)-->",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block, or a hidden setup. `reason` says why it is not run; `file` is where it is written instead."""

    page: str
    line: int
    language: str
    text: str
    reason: str = ""
    file: str = ""
    output: bool = False
    full: bool = False

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """README.md and every page of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(path: Path) -> list[Block]:
    """The page's blocks and setups, in their order."""
    return list(parse_blocks(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()))


def parse_blocks(text: str, page: str) -> Iterator[Block]:
    """The blocks of a page's text."""
    above: dict[str, str] = {}
    end = 0
    for found in _PART.finditer(text):
        if text[end : found.start()].strip():
            above = {}
        end = found.end()
        line = text.count("\n", 0, found.start()) + 1
        comment = found["comment"]
        if comment is None:
            yield _block(found, page, line, above)
            above = {}
        elif comment.startswith("setup"):
            code = comment.removeprefix("setup")
            yield Block(page, line, "setup", code.removeprefix(":").strip() if code.startswith(":") else code)
        else:
            name, _, value = comment.partition(":")
            above[name.strip()] = " ".join(value.split()) or "yes"


def _block(found: re.Match[str], page: str, line: int, above: dict[str, str]) -> Block:
    indent = found["indent"]
    text = "\n".join(each.removeprefix(indent) for each in found["text"].split("\n"))
    reason = above.get("not run", "")
    return Block(page, line, found["language"], text, reason, above.get("file", ""), "output" in above, "full" in above)


def pattern_of(expected: str) -> re.Pattern[str]:
    """What `expected` matches: `…` is anything within a line, and on a line of its own any number of lines."""
    lines = [line.rstrip() for line in expected.strip("\n").split("\n")]
    parts = [r".*" if line.strip() == "…" else re.escape(line).replace("…", r"[^\n]*") for line in lines]
    return re.compile("\n".join(parts) + r"\s*\Z", re.DOTALL)


def console_steps(text: str) -> list[tuple[str, str]]:
    """The commands of a `console` block, each with the output that the page shows for it (empty: none is compared)."""
    steps: list[tuple[list[str], list[str]]] = []
    for line in text.rstrip("\n").split("\n"):
        if line.startswith("$ "):
            steps.append(([line[2:]], []))
        elif steps and not steps[-1][1] and line.startswith("> "):
            steps[-1][0].append(line[2:])
        elif steps:
            steps[-1][1].append(line)
        else:
            raise ValueError("A console block begins with a line that begins with '$ '")
    return [("\n".join(command), "\n".join(shown)) for command, shown in steps]
