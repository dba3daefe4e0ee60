"""Requests, notifications and errors of the Tasks extension (SEP-2663)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver.server import require_client_extension
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import decode_header_value
from mcp.types import CallToolRequestParams, ClientCapabilities, Notification, NotificationParams, RequestParams
from pydantic import BaseModel, ConfigDict, Field

from broker_plane.wire.exact_json import loads
from broker_plane.wire.json_rpc import NAME_HEADER
from broker_plane.wire.tasks import TASKS, TaskRecord, detailed_fields

if TYPE_CHECKING:
    from broker_plane.plane.durable_tasks.tasks import DurableTasks

MODERN = frozenset({"2026-07-28"})
"""The protocol versions for which the extension is defined; earlier ones have tasks of another kind."""

HEADER_MISMATCH = -32020
IDEMPOTENCY_KEY = "io.broker-plane/idempotencyKey"
"""The member of a request's `_meta` under which a repeated call is the same call."""

MAX_IDEMPOTENCY_KEY = 200
_PROGRESS_TOKEN = "progressToken"  # noqa: S105  # the name of a member


class TaskParams(RequestParams):
    """The parameters of `tasks/get` and `tasks/cancel`."""

    model_config = ConfigDict(defer_build=True)

    task_id: str = Field(alias="taskId")


class UpdateTaskParams(TaskParams):
    """The parameters of `tasks/update`."""

    input_responses: dict[str, Any] = Field(alias="inputResponses")


class TaskNotificationParams(NotificationParams):
    """The parameters of `notifications/tasks`: a DetailedTask."""

    model_config = ConfigDict(extra="allow", defer_build=True)


class TaskNotification(Notification[TaskNotificationParams, str]):
    """`notifications/tasks`."""


class TaskCall(BaseModel):
    """The request that a task carries out, as it is stored: what its client sent, and could do."""

    model_config = ConfigDict(defer_build=True)

    params: CallToolRequestParams
    capabilities: ClientCapabilities | None = None
    client_id: str = ""
    version: str

    def pack(self) -> bytes:
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()

    def same_as(self, other: TaskCall) -> bool:
        """Whether both call the same tool with the same arguments."""
        return (self.params.name, self.params.arguments) == (other.params.name, other.params.arguments)


def call_of(ctx: ServerRequestContext[Any, Any], params: CallToolRequestParams, client_id: str) -> TaskCall:
    """The request of `tools/call`. Its progress token is left out: a task reports no progress."""
    raw = params.model_dump(mode="json", by_alias=True, exclude_none=True)
    raw.get("_meta", {}).pop(_PROGRESS_TOKEN, None)
    return TaskCall(
        params=CallToolRequestParams.model_validate(raw, by_name=False),
        capabilities=ctx.session.client_capabilities,
        client_id=client_id,
        version=ctx.protocol_version,
    )


def parse_call(raw: bytes) -> TaskCall:
    """The stored request of a task."""
    return TaskCall.model_validate(loads(raw), by_name=False, by_alias=True)


def declares_tasks(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Whether the client of this request can take a task."""
    declared = ctx.session.client_capabilities
    return ctx.protocol_version in MODERN and TASKS in ((declared and declared.extensions) or {})


def task_client() -> str:
    """Whose a task is: the client and the subject of the access token of this request; empty without one."""
    token = get_access_token()
    return "" if token is None else f"{token.client_id} {token.subject or ''}"


def check_tasks_request(ctx: ServerRequestContext[Any, Any], task_id: str) -> None:
    """Raise MCPError unless the client declares the extension and its header `Mcp-Name`, if there is one, is the id.

    A missing header is accepted, because clients in use leave it out.
    """
    require_client_extension(ctx, TASKS)
    headers = getattr(ctx.request, "headers", None) or {}
    if NAME_HEADER in headers and decode_header_value(headers[NAME_HEADER]) != task_id:
        raise MCPError(HEADER_MISMATCH, f"{NAME_HEADER} header does not match the request body's 'taskId' parameter")


async def detailed(tasks: DurableTasks, record: TaskRecord) -> dict[str, Any]:
    """The DetailedTask of a record, with its result."""
    result = loads(await tasks.store.value(record, record.result)) if record.result else None
    return detailed_fields(record, result, tasks.now())
