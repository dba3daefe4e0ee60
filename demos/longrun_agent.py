"""The agent of `longrun`: calls a tool as a task, or follows a task that an agent before it has begun.

python -m demos.longrun_agent URL [TASK]

It prints JSON lines: the id of the task, each new status, and the result. It keeps nothing but the id.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from mcp import Client, MCPError
from mcp.client import ClientExtension, ResultClaim
from mcp.client.extension import ClaimContext
from mcp.types import CallToolResult, Request, RequestParams, Result
from pydantic import ConfigDict, Field

TASKS = "io.modelcontextprotocol/tasks"
ENDED = ("completed", "failed", "cancelled")
_PAUSE_SECONDS, _MOST_SECONDS = 0.05, 0.5


class CreatedTask(Result):
    """The result of a call that became a task."""

    result_type: Literal["task"] = Field(alias="resultType")
    task_id: str = Field(alias="taskId")


class TaskState(Result):
    """The result of `tasks/get`."""

    status: str
    message: str = Field("", alias="statusMessage")
    poll_ms: int = Field(500, alias="pollIntervalMs")
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


class GetTaskParams(RequestParams):
    """The parameters of `tasks/get`."""

    model_config = ConfigDict(populate_by_name=True)
    task_id: str = Field(alias="taskId")


class GetTask(Request[GetTaskParams, Literal["tasks/get"]]):
    """`tasks/get`"""

    method: Literal["tasks/get"] = "tasks/get"
    name_param: ClassVar[str | None] = "taskId"


class TaskSupport(ClientExtension):
    """Declares that this client takes tasks."""

    identifier = TASKS

    def claims(self) -> Sequence[ResultClaim[Any]]:
        return (ResultClaim(result_type="task", model=CreatedTask, resolve=_never),)


async def _never(created: CreatedTask, context: ClaimContext) -> CallToolResult:
    raise NotImplementedError("Tasks are followed by their id")


async def main(url: str, task_id: str = "") -> None:
    """Call the tool unless there is a task, and follow it until it has ended, over any number of connections."""
    while True:
        try:
            async with Client(url, extensions=[TaskSupport()]) as client:
                if not task_id:
                    created: Any = await client.session.call_tool("delays", {}, allow_claimed=True)
                    task_id = created.task_id
                    _say(task=task_id)
                return await _follow(client, task_id)
        except (MCPError, OSError, RuntimeError, BaseExceptionGroup) as error:  # the server is away
            _say(lost=type(error).__name__)
            await asyncio.sleep(_PAUSE_SECONDS)


async def _follow(client: Client, task_id: str) -> None:
    said = ""
    while True:
        state = await client.session.send_request(GetTask(params=GetTaskParams(task_id=task_id)), TaskState)
        if f"{state.status} {state.message}" != said:
            said = f"{state.status} {state.message}"
            _say(status=state.status, message=state.message)
        if state.status in ENDED:
            _say(result=state.result, error=state.error)
            return
        await asyncio.sleep(min(state.poll_ms / 1000, _MOST_SECONDS))


def _say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
