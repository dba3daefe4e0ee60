"""Agents and a person work on one artifact, in five stories, each agent a process of its own.

python -m demos.collab [--story NAME] [--browser | --no-browser] [--output FILE.svg] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from broker_plane import Plane
from broker_plane.errors import BrokerPlaneError

from .around import saying_what_runs
from .bars import working
from .collab_report import report
from .collab_stage import Played, play
from .collab_stories import STORIES
from .stage import DemoError


def run(*, json: bool = False, story: str = "all", browser: bool = True, output: str = "") -> int:
    """Run the demo; 0 if every story ended as it must, 1 if not, 130 after Ctrl-C."""
    names = [*STORIES] if story == "all" else [story]
    try:
        with saying_what_runs():
            played = asyncio.run(_play_all(names, browser=browser))
    except KeyboardInterrupt:
        print("Stopped; the agents are ended", file=sys.stderr)
        return 130
    except (BrokerPlaneError, DemoError) as error:
        print(error, file=sys.stderr)
        return 1
    report(played, json=json, output=output)
    return 1 if any(each.problems for each in played) else 0


async def _play_all(names: Sequence[str], *, browser: bool) -> list[Played]:
    async with Plane.connect() as plane:
        played = []
        for name in names:
            with working(f"collab: {STORIES[name].title}"):
                played.append(await play(plane, STORIES[name], browser=browser))
        return played


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="demos.collab", description=__doc__.splitlines()[0] if __doc__ else "")
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
