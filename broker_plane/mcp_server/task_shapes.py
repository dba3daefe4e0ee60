"""Requests, notifications and errors of the Tasks extension (SEP-2663)."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver.server import require_client_extension
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import decode_header_value
from mcp.types import CallToolRequestParams, ClientCapabilities, Notification, NotificationParams, RequestParams
from pydantic import BaseModel, ConfigDict, Field

from broker_plane.errors import WeakKeyError, WireError
from broker_plane.wire.exact_json import dumps, loads
from broker_plane.wire.json_rpc import INVALID_PARAMS, NAME_HEADER
from broker_plane.wire.tasks import TASKS

MODERN = frozenset({"2026-07-28"})
"""The protocol versions for which the extension is defined; earlier ones have tasks of another kind."""

HEADER_MISMATCH = -32020
IDEMPOTENCY_KEY = "io.broker-plane/idempotencyKey"
"""The member of a request's `_meta` under which a repeated call is the same call."""

MAX_IDEMPOTENCY_KEY = 200
MIN_ANONYMOUS_KEY = 22
"""Characters of an idempotency key of a client without an access token: 128 random bits, as base64."""

_LONGEST_CLIENT = 1_024
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
        fields = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return dumps(fields | {"params": _fields(self.params)})

    def same_as(self, other: TaskCall) -> bool:
        """Whether both call the same tool with the same arguments: as JSON, in which 1 is not true."""
        return self._asked() == other._asked()

    def _asked(self) -> str:
        return json.dumps([self.params.name, self.params.arguments or {}], sort_keys=True)


def call_of(ctx: ServerRequestContext[Any, Any], params: CallToolRequestParams, client_id: str) -> TaskCall:
    """The request of `tools/call`. Its progress token is left out: a task reports no progress."""
    raw = _fields(params)
    raw.get("_meta", {}).pop(_PROGRESS_TOKEN, None)
    return TaskCall(
        params=CallToolRequestParams.model_validate(raw, by_name=False),
        capabilities=ctx.session.client_capabilities,
        client_id=client_id,
        version=ctx.protocol_version,
    )


def idempotency_key(params: CallToolRequestParams, client: str) -> str:
    """The idempotency key of a call, empty without one. `client` is as of `task_client`.

    Without an access token the key alone decides who gets the task of an earlier call, so nobody must guess it.

    Raises:
        MCPError: -32602, it is not valid, or can be guessed.
    """
    key = (params.meta or {}).get(IDEMPOTENCY_KEY)
    if key is None:
        return ""
    if not isinstance(key, str) or not 0 < len(key) <= MAX_IDEMPOTENCY_KEY:
        raise key_error(f"has to be a text of 1 to {MAX_IDEMPOTENCY_KEY} characters", WireError.code)
    if not client and len(key) < MIN_ANONYMOUS_KEY:
        raise key_error(
            f"can be guessed: a call without an access token needs a random key of at least {MIN_ANONYMOUS_KEY} "
            "characters, such as a UUID",
            WeakKeyError.code,
        )
    return key


def key_error(problem: str, code: str) -> MCPError:
    """The error of an idempotency key, for programs with a code of errors.py."""
    return MCPError(INVALID_PARAMS, f"_meta[{IDEMPOTENCY_KEY!r}] {problem}", {"code": code})


def _fields(params: CallToolRequestParams) -> dict[str, Any]:
    """The members of the parameters, with the arguments as they came: pydantic would write NaN as null."""
    fields: dict[str, Any] = params.model_dump(mode="json", by_alias=True, exclude_none=True)
    return fields | ({} if params.arguments is None else {"arguments": params.arguments})


def parse_call(raw: bytes) -> TaskCall:
    """The stored request of a task."""
    return TaskCall.model_validate(loads(raw), by_name=False, by_alias=True)


def declares_tasks(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Whether the client of this request can take a task."""
    declared = ctx.session.client_capabilities
    return ctx.protocol_version in MODERN and TASKS in ((declared and declared.extensions) or {})


def task_client() -> str:
    """Whose a task is: the client and the subject of the access token of this request; empty without one.

    No two pairs are the same text, and none is longer than a record takes.
    """
    token = get_access_token()
    if token is None:
        return ""
    client_id = token.client_id.replace("%", "%25").replace(" ", "%20")
    client = f"{client_id} {token.subject or ''}"
    return client if len(client) <= _LONGEST_CLIENT else f"sha256 {sha256(client.encode()).hexdigest()}"


def check_tasks_request(ctx: ServerRequestContext[Any, Any], task_id: str) -> None:
    """Raise MCPError unless the client declares the extension and its header `Mcp-Name`, if there is one, is the id.

    A missing header is accepted, because clients in use leave it out.
    """
    require_client_extension(ctx, TASKS)
    headers = getattr(ctx.request, "headers", None) or {}
    if NAME_HEADER in headers and decode_header_value(headers[NAME_HEADER]) != task_id:
        raise MCPError(HEADER_MISMATCH, f"{NAME_HEADER} header does not match the request body's 'taskId' parameter")
