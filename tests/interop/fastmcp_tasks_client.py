"""A client of FastMCP with fastmcp-tasks, in its own environment: calls a tool as a task, and polls until it has ended.

Prints JSON lines: the task's id, each status that is new, and the result. FastMCP's client ends with its connection,
so a new one goes on with the task's id.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from fastmcp import Client
from fastmcp_tasks.client import ToolTask, call_tool_task

ENDED = ("completed", "failed", "cancelled")


async def main(url: str, tool: str, arguments: dict[str, Any]) -> None:
    created: Any = None
    seen: list[str] = []
    connections = 0
    while seen[-1:] != ["completed"]:
        try:
            async with Client(url) as client:
                connections += 1
                if created is None:
                    created = (await call_tool_task(client, tool, arguments)).create_result
                    say(task=created.task_id)
                await follow(ToolTask(client, tool, created), seen)
        except Exception as error:  # noqa: BLE001  # the server is away
            print(repr(error), file=sys.stderr)
            await asyncio.sleep(0.1)
    say(again=connections > 1)


async def follow(task: ToolTask, seen: list[str]) -> None:
    while seen[-1:] != ["completed"]:
        status = (await asyncio.wait_for(task.status(), 5)).status
        if status not in seen[-1:]:
            if status == "completed":
                say(status=status, result=(await task.result()).structured_content)
            else:
                say(status=status)
            seen.append(status)
        await asyncio.sleep(0.05)


def say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
