"""The picture of the README: what `broker-plane demo db` prints, as an SVG of a terminal.

python -m docs_build.picture [--rows N] [FILE.svg]      default: every row, docs/assets/demo-db.svg
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

FILE = Path(__file__).resolve().parents[1] / "docs" / "assets" / "demo-db.svg"
WIDTH = 74
_SECONDS = 300
_FONTS = re.compile(r"@font-face \{\{.*?\}\}", re.DOTALL)
"""They would be loaded from another host."""

_THEME = TerminalTheme(
    (27, 38, 42),
    (224, 232, 233),
    [
        *((27, 38, 42), (230, 110, 90), (111, 208, 196), (227, 167, 101)),
        *((110, 170, 220), (190, 140, 210), (111, 208, 196), (224, 232, 233)),
    ],
)


def shown(rows: str) -> str:
    """The command and what it printed, without the path of the chart and the foot note."""
    with tempfile.TemporaryDirectory() as directory:
        command = ["broker-plane", "demo", "db", "--rows", rows, "--output", "chart.png"]
        done = subprocess.run(  # noqa: S603 - the program of this package
            command, cwd=directory, capture_output=True, text=True, timeout=_SECONDS, check=True
        )
    return "$ " + " ".join(command[:3]) + "\n" + done.stdout.partition("\nChart")[0].rstrip()


def svg(text: str) -> str:
    """The text as a terminal window."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), legacy_windows=False)
    styled = Text.from_ansi(text)
    styled.highlight_regex(r"^\$ .*", "bold")
    styled.highlight_regex(r"without the plane.*", "red")
    styled.highlight_regex(r"with the plane.*|saved.*|rows arrived, verified", "green")
    console.print(styled, soft_wrap=False)
    template = _FONTS.sub("", CONSOLE_SVG_FORMAT)
    drawn = console.export_svg(title="broker-plane demo db", theme=_THEME, code_format=template, unique_id="demo-db")
    return "\n".join(line.rstrip() for line in drawn.split("\n")).strip() + "\n"


def main() -> None:
    """Run the demo, and write its picture."""
    parser = argparse.ArgumentParser(prog="docs_build.picture", description=__doc__)
    parser.add_argument("--rows", default="all")
    parser.add_argument("file", type=Path, nargs="?", default=FILE)
    chosen = parser.parse_args()
    chosen.file.write_text(svg(shown(chosen.rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
