"""python -m tests.interaction.task_server PORT NAME: a server process with task tools, which a test may kill.

`work` appends a line to a file for each step that it really carries out.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import Elicit
from pydantic import BaseModel

from broker_plane import PlaneServer, TaskContext


class Approval(BaseModel):
    approve: bool


def make_server(name: str) -> PlaneServer:
    server = PlaneServer(name)

    @server.task_tool
    async def work(journal: str, go: str, steps: int, hold: int, task: TaskContext) -> dict[str, Any]:
        """Carry out `steps` steps; the one with the number `hold` waits until the file `go` is there."""

        def carry_out(number: int) -> int:
            with Path(journal).open("a") as lines:
                lines.write(f"{number} {os.getpid()}\n")
            while number == hold and not Path(go).exists():
                time.sleep(0.02)
            return os.getpid()

        done = [await task.step(f"step {number}", carry_out, number) for number in range(steps)]
        await task.status("all steps are done")
        return {"key": task.key, "by": done}

    @server.task_tool
    async def send(to: str, task: TaskContext) -> str:
        """Ask before it is sent."""
        outcome = await task.input("approve", Elicit(f"Send to {to}?", Approval))
        return f"{outcome.action} by {os.getpid()}"

    return server


if __name__ == "__main__":
    make_server(sys.argv[2]).run("streamable-http", port=int(sys.argv[1]))
