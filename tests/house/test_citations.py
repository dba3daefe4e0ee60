"""What code and pages cite is in the repository."""

from __future__ import annotations

import re

from tests.house.source import OWN, PACKAGE, ROOT, comments, docstrings, pages, python_files

_PAGE = re.compile(r"\bdocs/[\w./-]+\.(?:md|json|svg)")
_DECISION = re.compile(r"\bdecisions?[ /](\d{4})\b")
_ELSEWHERE = re.compile(r"\b(?:wire|rulings|house|architecture)\.md\b|\brulings?,? (?:point )?\d+", re.IGNORECASE)
_ROOMS = "|".join(path.name for path in PACKAGE.iterdir() if path.is_dir())
_FILE = re.compile(rf"(?<![\w/])((?:{_ROOMS})/[\w/]+\.py)\b")


def test_every_cited_page_decision_and_file_exists() -> None:
    decisions = {path.name[:4] for path in (ROOT / "docs" / "decisions").glob("*.md")}
    missing = []
    for path in python_files(*OWN):
        for text in (*docstrings(path), *comments(path)):
            missing += [f"{text}: {page}" for page in _PAGE.findall(text.text) if not (ROOT / page).exists()]
            missing += [f"{text}: decision {n}" for n in _DECISION.findall(text.text) if n not in decisions]
            missing += [f"{text}: {file}" for file in _FILE.findall(text.text) if not (PACKAGE / file).exists()]
    for text in pages():
        missing += [f"{text}: {file}" for file in _FILE.findall(text.text) if not (PACKAGE / file).exists()]
    assert not missing, "\n".join(missing)


def test_nothing_is_cited_that_is_kept_elsewhere() -> None:
    """Contracts and rulings of the design are docs/reference/wire-protocol.md and numbered decisions."""
    found = [
        f"{text}: {match[0]}"
        for path in python_files(*OWN)
        if "house" not in path.parts
        for text in (*docstrings(path), *comments(path))
        for match in _ELSEWHERE.finditer(text.text)
        if match[0] != "architecture.md"
    ]
    assert not found, "\n".join(found)
