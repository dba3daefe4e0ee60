"""An MCP client that takes tasks (SEP-2663), on the SDK's Client; it shows what is on the wire and hides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import anyio
from mcp import Client
from mcp.client import ClientExtension, NotificationBinding, ResultClaim
from mcp.types import ElicitResult, NotificationParams, Request, RequestParams, Result
from pydantic import ConfigDict, Field

TASKS = "io.modelcontextprotocol/tasks"
ENDED = ("completed", "failed", "cancelled")


class Fields(Result):
    """A result with all its members."""

    model_config = ConfigDict(extra="allow")


class Created(Fields):
    result_type: Literal["task"] = Field(alias="resultType")
    task_id: str = Field(alias="taskId")


class AnyParams(RequestParams):
    model_config = ConfigDict(extra="allow")


class AnyNotice(NotificationParams):
    model_config = ConfigDict(extra="allow")


class GetTask(Request[AnyParams, Literal["tasks/get"]]):
    method: Literal["tasks/get"] = "tasks/get"
    name_param: ClassVar[str | None] = "taskId"


class UpdateTask(Request[AnyParams, Literal["tasks/update"]]):
    method: Literal["tasks/update"] = "tasks/update"
    name_param: ClassVar[str | None] = "taskId"


class CancelTask(Request[AnyParams, Literal["tasks/cancel"]]):
    method: Literal["tasks/cancel"] = "tasks/cancel"
    name_param: ClassVar[str | None] = "taskId"


class Listen(Request[AnyParams, Literal["subscriptions/listen"]]):
    method: Literal["subscriptions/listen"] = "subscriptions/listen"


KINDS: dict[str, type[Request[AnyParams, Any]]] = {"get": GetTask, "update": UpdateTask, "cancel": CancelTask}


class TakesTasks(ClientExtension):
    """Declares the extension, and keeps every `notifications/tasks` in `heard`."""

    identifier = TASKS

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.changed = anyio.Event()

    def claims(self) -> Sequence[ResultClaim[Any]]:
        async def resolve(*_: Any) -> Any:
            raise AssertionError

        return (ResultClaim(result_type="task", model=Created, resolve=resolve),)

    def notifications(self) -> Sequence[NotificationBinding[Any]]:
        async def hear(params: AnyNotice) -> None:
            self.heard.append(wire(params))
            self.changed.set()
            self.changed = anyio.Event()

        return (NotificationBinding(method="notifications/tasks", params_type=AnyNotice, handler=hear),)


def wire(model: Any) -> dict[str, Any]:
    fields: dict[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return fields


async def never(context: Any, params: Any) -> ElicitResult:
    """Declares that the client answers questions; a task asks by its inputRequests."""
    raise AssertionError


async def call(client: Client, tool: str, meta: Any = None, **arguments: Any) -> dict[str, Any]:
    """What a call of a tool returns: a task or a plain result."""
    result = await client.session.call_tool(tool, arguments, meta=meta, allow_claimed=True)
    return wire(result)


async def ask(client: Client, kind: str, task_id: str, **params: Any) -> dict[str, Any]:
    request = KINDS[kind](params=AnyParams.model_validate({"taskId": task_id, **params}))
    return wire(await client.session.send_request(request, Fields))


async def reached(client: Client, task_id: str, *statuses: str, seconds: float = 60) -> dict[str, Any]:
    """Poll until the task has one of the statuses, by default a terminal one."""
    with anyio.fail_after(seconds):
        while (found := await ask(client, "get", task_id))["status"] not in (statuses or ENDED):
            assert found["status"] not in ENDED, found
            await anyio.sleep(0.02)
    return found
