"""Agents and a person work on one artifact, in five stories, each agent a process of its own.

python -m demos.collab [--story NAME] [--browser | --no-browser] [--output FILE.svg] [--json]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from broker_plane import Plane

from .around import demo_parser
from .bars import working
from .collab_report import report
from .collab_stage import Played, play
from .collab_stories import STORIES
from .stage import perform


def run(*, json: bool = False, story: str = "all", browser: bool = True, output: str = "") -> int:
    """Run the demo; 0 if every story ended as it must, 1 if not, 130 after Ctrl-C."""
    names = [*STORIES] if story == "all" else [story]
    told = partial(report, json=json, output=output)
    return perform(_play_all(names, browser=browser), told, lambda played: not any(each.problems for each in played))


async def _play_all(names: Sequence[str], *, browser: bool) -> list[Played]:
    async with Plane.connect() as plane:
        played = []
        for name in names:
            with working(f"collab: {STORIES[name].title}"):
                played.append(await play(plane, STORIES[name], browser=browser))
        return played


def main(argv: Sequence[str] | None = None) -> int:
    parser = demo_parser("collab", __doc__)
    parser.add_argument("--story", choices=["all", *STORIES], default="all", help="one story (default: all five)")
    parser.add_argument(
        "--browser",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="play the person in Chromium, if it is there",
    )
    parser.add_argument("--output", default="", help="the picture's SVG; default: a new file")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    return run(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
