"""Plain English: a few idioms that a reader has to read twice do not come back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.source import PACKAGE, ROOT, Text, comments, docstrings, messages, pages, python_files

IDIOMS = {
    "a clause as subject": re.compile(
        r"(?:(?:\A|[.:;]\s+|\n\s*\n\s*)(?:Who|Whoever)|(?:[.:;]\s+|\n\s*\n\s*)What)\b(?! (?:if|about)\b)"
        r"[^.?!]*(?![^.!]*\?)[.!;]"
    ),
    "is none": re.compile(r"(?<!here )\b(?:[Ii]s|are|was|were) none\b"),
    "stands": re.compile(r"\b(?:stand|stands|stood)\b(?![ -](?:for|alone|by)\b)(?!-in\b)", re.IGNORECASE),
    "told": re.compile(r"\btold\b", re.IGNORECASE),
    "mend": re.compile(r"\b(?:mend|mends|mended|mending)\b", re.IGNORECASE),
    "for who": re.compile(r"\b(?:for|to|of|by|from) (?:who|whoever)\b(?! (?:it|they|we|I)\b)", re.IGNORECASE),
    "so many": re.compile(r"\b(?:leaves|keeps|takes|has|holds) so (?:many|much)\b(?! (?:that|as)\b)", re.IGNORECASE),
}
"""What is looked for, by name; each is a pattern over one docstring, comment, message or line of a page."""

ALLOWED: frozenset[tuple[str, str]] = frozenset()
"""(path below the root, idiom): places where the words are right, each for a reason that a reader sees there."""

FOLDERS = (PACKAGE, ROOT / "servers", ROOT / "demos")


def texts() -> Iterator[Text]:
    for path in python_files(*FOLDERS):
        yield from docstrings(path)
        yield from comments(path)
        yield from messages(path)
    yield from pages()


def found_in(text: str) -> list[str]:
    """The idioms of a text, by name."""
    return [name for name, pattern in IDIOMS.items() if pattern.search(text)]


def test_no_text_uses_an_idiom_that_has_to_be_read_twice() -> None:
    found = [
        f"{text}: {name}: {' '.join(text.text.split())[:100]}"
        for text in texts()
        for name in found_in(text.text)
        if (text.path.relative_to(ROOT).as_posix(), name) not in ALLOWED
    ]
    assert not found, f"{len(found)} places\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("text", "idioms"),
    [
        ("Who has it narrows it further.", ["a clause as subject"]),
        ("Names. What is outside the scope is not there.", ["a clause as subject"]),
        ("What happens if a bridge is killed?", []),
        ("There is no such column; 'a' is none of them", ["is none"]),
        ("The rules stand in config.py", ["stands"]),
        ("`…` stands for the grant", []),
        ("A subscriber is told of new versions", ["told"]),
        ("Notices for who looks on", ["for who"]),
        ("Holders of a grant can narrow it.", []),
    ],
)
def test_idioms_are_found(text: str, idioms: list[str]) -> None:
    assert found_in(text) == idioms


def test_the_list_of_exceptions_is_short_and_current() -> None:
    assert len(ALLOWED) <= 12
    assert not [path for path, _ in ALLOWED if not (ROOT / Path(path)).exists()]
