"""A ten-step analysis outlives kill -9 of its agent, of its server and of nats-server.

python -m demos.longrun [--kills | --no-kills] [--output FILE.svg] [--json]

It uses a broker of its own, in a temporary directory, because it kills its processes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from .around import demo_parser, is_ready
from .longrun_report import report
from .longrun_stage import LongRun, long_run
from .stage import own_broker, perform

AGENT_KILLED_IN, SERVER_KILLED_IN, NATS_KILLED_IN = 2, 4, 7
"""Steps in which a process is killed."""


def run(*, json: bool = False, kills: bool = True, output: str = "") -> int:
    """Run the demo; 0 if the result is that of a run without interruptions, 1 if not, 130 after Ctrl-C."""
    if not is_ready("longrun"):
        return 1
    with tempfile.TemporaryDirectory(prefix="longrun-") as directory:
        scratch, told = Path(directory), partial(report, json=json, output=output)
        return perform(_play(scratch, kills), told, lambda ended: ended.verified, own_broker(scratch))


async def _play(scratch: Path, kills: bool) -> LongRun:
    async with long_run(scratch) as play:
        await play.begin()
        if kills:
            await play.in_step(AGENT_KILLED_IN)
            await play.kill_agent()
            await play.in_step(SERVER_KILLED_IN)
            await play.kill_server()
            await play.in_step(NATS_KILLED_IN)
            await play.kill_nats()
        await play.end()
        return play


def main(argv: Sequence[str] | None = None) -> int:
    parser = demo_parser("longrun", __doc__)
    parser.add_argument("--kills", action=argparse.BooleanOptionalAction, default=True, help="kill -9 (default: yes)")
    parser.add_argument("--output", default="", help="the picture's SVG; default: a new file")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    return run(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
