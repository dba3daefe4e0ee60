"""Three servers speak protocols that no handler knows; a provider writes the code, and the cache keeps it.

python -m demos.levels [--provider NAME] [--rows N] [--output FILE.svg] [--json]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from .around import demo_parser
from .levels_report import report
from .levels_rows import MOST_ROWS, ROWS
from .levels_stage import SCRIPTED, play
from .stage import perform


def run(*, json: bool = False, provider: str = SCRIPTED, rows: int = ROWS, output: str = "") -> int:
    """Run the demo; 0 if every file arrived at the level that it must, 1 if not, 130 after Ctrl-C."""
    if not 1 <= rows <= MOST_ROWS:
        print(f"--rows {rows}: give a number from 1 to {MOST_ROWS}", file=sys.stderr)
        return 2
    return perform(play(provider, rows), partial(report, json=json, output=output), lambda told: told.verified)


def main(argv: Sequence[str] | None = None) -> int:
    parser = demo_parser("levels", __doc__)
    parser.add_argument(
        "--provider",
        default=SCRIPTED,
        help="who writes the code: anthropic:MODEL, openai:MODEL or command:PROGRAM (default: prepared answers)",
    )
    parser.add_argument("--rows", type=int, default=ROWS, help=f"number of readings at each server ({ROWS})")
    parser.add_argument("--output", default="", help="the picture's SVG; default: a new file")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    return run(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
