"""CI runs what the README tells a newcomer to run, to the letter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT, Command

README = (ROOT / "README.md").read_text(encoding="utf-8")
HEADING = "## Try it\n"
BLOCK = "```sh\necho {}\n```\n"


def written(directory: Path, *parts: str) -> Path:
    """A README of these parts, with text between them."""
    path = directory / "README.md"
    path.write_text("# Title\n" + "Text.\n".join(parts), encoding="utf-8")
    return path


def extract(number: int, readme: Path) -> subprocess.CompletedProcess[str]:
    command: Command = [sys.executable, ROOT / ".ci" / "readme_commands.py", str(number), readme]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_the_commands_stand_in_the_readme() -> None:
    first, second = (extract(number, ROOT / "README.md").stdout for number in (1, 2))
    assert first != second
    assert all(f"```sh\n{command}```\n" in README for command in (first, second))
    assert first.endswith(".venv/bin/broker-plane demo db\n")
    assert second.endswith(".venv/bin/python -m pytest -n 3\n")


def test_the_first_two_blocks_under_the_heading_are_taken(tmp_path: Path) -> None:
    readme = written(tmp_path, BLOCK.format(0), HEADING, *map(BLOCK.format, (1, 2, 3)), "## Next\n", BLOCK.format(4))
    assert [extract(number, readme).stdout for number in (1, 2)] == ["echo 1\n", "echo 2\n"]


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(["## Try\n", *map(BLOCK.format, (1, 2))], id="no heading"),
        pytest.param([HEADING, BLOCK.format(1), "## Next\n", BLOCK.format(2)], id="one block"),
    ],
)
def test_a_readme_without_them_fails(tmp_path: Path, parts: list[str]) -> None:
    done = extract(1, written(tmp_path, *parts))
    assert done.returncode != 0
    assert "README.md has" in done.stderr


def test_the_script_of_ci_is_bash_that_parses() -> None:
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True, timeout=30)
