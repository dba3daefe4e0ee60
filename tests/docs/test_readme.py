"""The README: short, with a picture that the product made and rows that the benchmark wrote; and names that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from broker_plane.config import Settings
from docs_build import picture
from tests.bench import readme
from tests.bench.cases import GROUPS, cases
from tests.docs.blocks import ROOT, pages
from tests.docs.runner import environment

README = (ROOT / "README.md").read_text(encoding="utf-8")
PERFORMANCE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
_ROW = re.compile(r"^\| ([^|]+) \| [\d.,]+ \| ", re.MULTILINE)
_NOT_OURS = {"TEST_TOMCP", "FILES_DIR", "CHART_DIR", "TEST_CACHE"}
"""Variables of tests and of the example servers."""


def test_it_is_at_most_a_screen_and_a_half() -> None:
    assert len(README.splitlines()) <= 130


def test_its_rows_are_those_of_the_table_of_all_rows() -> None:
    ours, every = _ROW.findall(README), _ROW.findall(PERFORMANCE)
    assert ours == list(readme.IN_README)
    assert _headlines("".join(GROUPS).replace("i", "").replace("k", "")) <= set(every) <= _headlines("".join(GROUPS))
    lines = set(PERFORMANCE.splitlines())
    assert all(line in lines for line in README.splitlines() if _ROW.match(line))


def _headlines(groups: str) -> set[str]:
    """Of these groups. The groups i and k are in the table only if they were measured on a quiet machine."""
    return {case.headline for case in cases(",".join(groups), False, None) if case.headline}


def test_its_picture_shows_what_the_demo_says_and_loads_nothing() -> None:
    drawn = picture.FILE.read_text(encoding="utf-8")
    assert picture.FILE.relative_to(ROOT).as_posix() in README
    text = re.sub(r"<[^>]+>", " ", drawn).replace("&#160;", " ")
    assert "broker-plane demo db" in text
    assert "336,776 of 336,776" in " ".join(text.split())
    assert not re.findall(r"(?:href|url\()[^>]*https?:", drawn)
    assert "/tmp" not in drawn


def test_the_script_of_the_picture_runs_the_demo(tmp_path: Path) -> None:
    environ = environment(tmp_path / "data")
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    command = [sys.executable, "-m", "docs_build.picture", "--rows", "500", str(tmp_path / "demo.svg")]
    try:
        subprocess.run(command, cwd=ROOT, env=environ, check=True, timeout=120)
    finally:
        subprocess.run(["broker-plane", "down"], env=environ, check=True, timeout=60, stdout=subprocess.DEVNULL)
    assert "500&#160;of&#160;500" in (tmp_path / "demo.svg").read_text(encoding="utf-8")


def test_every_setting_that_a_page_names_exists() -> None:
    fields = {name.upper() for name in Settings.__struct_fields__} | _NOT_OURS
    named = {
        (path.name, name)
        for path in pages()
        for name in re.findall(r"\bBROKER_PLANE_([A-Z][A-Z_]*[A-Z])\b", path.read_text(encoding="utf-8"))
    }
    assert not {(page, name) for page, name in named if name not in fields}
