"""No file has the marks that an unfinished merge leaves."""

from __future__ import annotations

import re

from tests.house.source import ROOT

_MARKS = re.compile(rb"^(?:<{7} |>{7} )", re.MULTILINE)
_TEXTS = {".py", ".md", ".yaml", ".yml", ".toml", ".json", ".html", ".js", ".css", ".sh", ""}


def test_no_file_has_the_marks_of_a_merge() -> None:
    folders = ("broker_plane", "demos", "docs", "docs_build", "servers", "tests", ".ci")
    files = [
        path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix in _TEXTS
    ]
    files += [path for path in ROOT.iterdir() if path.is_file()]
    assert len(files) > 1_000
    assert [str(path) for path in files if _MARKS.search(path.read_bytes())] == []
