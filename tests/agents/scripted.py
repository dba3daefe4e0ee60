"""What every scripted model does, and what every program here answers.

The model asks for the names, takes those of team A, and hands them to `draw`. Of a plain tool it gets everything: it
reads a part on, and hands all of it to `draw`. It keeps all that it was given.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from broker_plane.agent.buffer import Buffer
from broker_plane.agent.dispatcher import Dispatcher
from broker_plane.agent.transcript import Transcript
from broker_plane.errors import LeakError
from tests.agents.people import COLUMNS, digest, directory, people

PEOPLE = os.environ.get("PEOPLE_URL", "")
"""Where the server is."""

CHOSEN = [row for row in people() if row["team"] == "A"]
EXPECTED = f"drawn {len(CHOSEN)} {digest(CHOSEN)}"
ALL = f"drawn {len(directory())} {digest(directory())}"
HIDDEN = directory()[10:-10]
"""A summary has examples of the first rows, and the lowest and highest values."""


class Script:
    """The turns of a model: `next(what it was given)` is a tool and its arguments, or None at the end."""

    def __init__(self, mode: str, leak: bool) -> None:
        self.mode = mode
        self.leak = leak
        self.given = Transcript()
        self.turn = 0
        self.last = ""
        self.url = ""
        self.read = ""

    def next(self, text: str) -> tuple[str, dict[str, Any]] | None:
        self.given.said(f"turn {self.turn}", text)
        self.last = text
        self.turn += 1
        if self.mode == "plain":
            return self._next_of_plain(text)
        if self.turn == 1:
            # A model that forgets abstract_domains gets every column: in async mode that is the leak.
            domains = "" if self.leak and self.mode == "async" else ",".join(COLUMNS)
            return "get_people", {"abstract_domains": domains, "mode": self.mode}
        if self.turn == 2 and not self.leak:
            found = json.loads(text)
            chosen = [row for row in found["abstract"] if row["team"] == "A"]
            return "draw", {"abstract_data": json.dumps(chosen), "resource_url": found["resource_url"]}
        return None

    def _next_of_plain(self, text: str) -> tuple[str, dict[str, Any]] | None:
        if self.turn == 1:
            return "get_directory", {}
        if self.leak or self.turn == 4:
            return None
        if self.turn == 2:
            self.url = json.loads(text)["resource_url"]
            return "read_body", {"resource_url": self.url, "where": "name = 'Entry 4321'", "columns": ["name"]}
        self.read = text
        return "draw", {"abstract_data": "", "resource_url": self.url}


def main(play: Callable[[Script, Dispatcher | None], Awaitable[None]]) -> None:
    """Answer questions on standard input, each {"mode", "leak"}: {"drawn", "leaked", "looked_for", "waiting"}."""
    print(json.dumps([asyncio.run(_played(play, **asked)) for asked in json.load(sys.stdin)["plays"]]))


async def _played(
    play: Callable[[Script, Dispatcher | None], Awaitable[None]], mode: str, leak: bool
) -> dict[str, Any]:
    """One play. In sync mode and of a plain tool the planted leak is a tool that nobody wrapped."""
    script, buffer = Script(mode, leak), Buffer()
    await play(script, None if leak and mode != "async" else Dispatcher(buffer))
    leaked, looked_for = "", 0
    rows, expected = (HIDDEN, ALL) if mode == "plain" else (people(), EXPECTED)
    try:
        looked_for = script.given.assert_no_body_leaked(rows, COLUMNS)
    except LeakError as error:
        leaked = str(error)
    found = {"drawn": expected in script.last, "leaked": leaked, "looked_for": looked_for, "waiting": len(buffer)}
    return found | ({"read": script.read} if script.read else {})
