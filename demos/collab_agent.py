"""One participant of a story, in a process of its own: `python -m demos.collab_agent`.

It reads one JSON line: its story and script, and a URL with a grant, which is all that it has. It prints how it ended.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson

from broker_plane import Plane, load_settings
from broker_plane.errors import BrokerPlaneError

from .collab_stories import STORIES
from .stage import DemoError


async def play(job: Mapping[str, Any]) -> str:
    """Play the script to its end; return what went wrong, empty if nothing did."""
    script = STORIES[job["story"]].parts[job["part"]]
    try:
        async with (
            Plane.connect(load_settings(**job["settings"])) as plane,
            plane.sessions.join(job["session"], type=job["type"], via=job["via"]) as session,
        ):
            await script(session)
    except (BrokerPlaneError, DemoError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def main() -> int:
    line = sys.stdin.buffer.readline()
    if line:
        with suppress(KeyboardInterrupt):  # the parent process reports it
            problem = asyncio.run(play(orjson.loads(line)))
            sys.stdout.buffer.write(orjson.dumps({"problem": problem}, option=orjson.OPT_APPEND_NEWLINE))
            sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
