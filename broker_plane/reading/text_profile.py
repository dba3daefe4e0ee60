"""Describes a text in one pass: bytes, lines, and an outline of its headings, definitions or changed files. Pure."""

from __future__ import annotations

import re

from broker_plane.reading.answers import BodyDescription
from broker_plane.reading.line_splitter import Stretch
from broker_plane.reading.tokens import TOKEN_BYTES

MOST_OUTLINE = 100
"""Lines of an outline."""

_SHOWN = 100
# Each alternative begins at the start of a line and has a bounded repetition, so that the search is linear.
_FOUND = re.compile(
    rb"^(?:(?P<fence>```|~~~)"
    rb"|(?P<heading>#{1,6}[ \t]+\S[^\n]{0,200})"
    rb"|(?P<diff>diff --git [^\n]{1,300})"
    rb"|(?P<changed>\+\+\+ [^\n]{1,300})"
    rb"|(?P<code>[ \t]{0,16}(?:export[ \t]+)?(?:default[ \t]+)?(?:pub[ \t]+)?(?:async[ \t]+)?"
    rb"(?:(?:def|fn|func)[ \t]+\w{1,100}[(<\[]|class[ \t]+\w{1,100}[ \t]*[(:{\[]|class[ \t]+\w{1,100}[ \t]+extends[ \t]"
    rb"|function\*?[ \t]+\w{1,100}[ \t]*\(|(?:interface|struct|enum|trait)[ \t]+\w{1,100}[ \t]*[{<])[^\n]{0,200}))",
    re.MULTILINE,
)
_BY_TYPE = {
    "text/markdown": "heading",
    "text/x-diff": "diff",
    "text/x-patch": "diff",
    "text/x-python": "code",
    "text/javascript": "code",
}
_BY_ENDING = {
    "md": "heading",
    "markdown": "heading",
    "diff": "diff",
    "patch": "diff",
    "py": "code",
    "js": "code",
    "ts": "code",
    "tsx": "code",
    "go": "code",
    "rs": "code",
    "java": "code",
}
_NAMES = {"heading": "headings", "diff": "changed files", "changed": "changed files", "code": "definitions"}


class TextProfile:
    """Takes the stretches of a text, in order."""

    def __init__(self, media_type: str, name: str = "") -> None:
        self._media_type = media_type
        ending = name.rpartition(".")[2].lower()
        self._expected = _BY_ENDING.get(ending) or _BY_TYPE.get(media_type.partition(";")[0].strip().lower(), "")
        self._bytes = self._lines = self._longest = self._open = 0
        self._counts = dict.fromkeys(_NAMES, 0)
        self._outlines: dict[str, list[str]] = {kind: [] for kind in _NAMES}
        self._fenced = False

    def add(self, stretch: Stretch) -> None:
        """Look at the next lines."""
        if stretch.opens:
            self._outline(stretch.data)
        self._bytes += len(stretch.data)
        self._lines += stretch.lines
        self._measure(stretch)

    def description(self, size: int) -> BodyDescription:
        """The description of a body of `size` bytes whose text was added."""
        kind = self._chosen()
        outline = self._outlines[kind] if kind else []
        if kind and self._counts[kind] > len(outline):
            outline = [*outline, f"… and {self._counts[kind] - len(outline):,} more"]
        facts = {
            "bytes": size,
            "tokens": -(-size // TOKEN_BYTES),
            "lines": self._lines,
            "longest_line_bytes": self._longest,
            **({_NAMES[kind].replace(" ", "_"): self._counts[kind]} if kind else {}),
        }
        return BodyDescription(kind="text", media_type=self._media_type, facts=facts, outline=tuple(outline))

    def _measure(self, stretch: Stretch) -> None:
        if stretch.opens and stretch.closes:
            self._longest = max(self._longest, max(map(len, stretch.data.split(b"\n"))))
            return
        self._open = len(stretch.data) + (0 if stretch.opens else self._open)
        self._longest = max(self._longest, self._open)

    def _outline(self, data: bytes) -> None:
        number, place = self._lines + 1, 0
        for found in _FOUND.finditer(data):
            kind = found.lastgroup or ""
            if kind == "fence":
                self._fenced = not self._fenced
                continue
            if self._fenced:
                continue
            self._counts[kind] += 1
            if len(self._outlines[kind]) < MOST_OUTLINE:
                number, place = number + data.count(b"\n", place, found.start()), found.start()
                self._outlines[kind].append(f"{number}: {_line(found[0])}")

    def _chosen(self) -> str:
        """The kind of outline that fits the text best; empty without one."""
        counts = self._counts
        if self._expected and counts[self._expected]:
            return self._expected
        if counts["diff"]:
            return "diff"
        if counts["code"] and 3 * counts["code"] >= counts["heading"]:
            return "code"
        if counts["heading"]:
            return "heading"
        return "changed" if counts["changed"] > 1 else ""


def _line(raw: bytes) -> str:
    text = raw.decode("utf-8", "replace").rstrip()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
