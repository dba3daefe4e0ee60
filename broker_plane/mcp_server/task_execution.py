"""Runs the call of a task: the SDK calls the tool as for a request, only that nobody listens."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import anyio
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.session import ServerSession
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp.shared.transport_context import TransportContext
from mcp.types import CallToolResult, InputRequiredResult, TextContent

from broker_plane.errors import BrokerUnavailableError
from broker_plane.mcp_server.offers import serving_client
from broker_plane.mcp_server.task_context import TaskContext
from broker_plane.mcp_server.task_functions import calling
from broker_plane.mcp_server.task_shapes import TaskCall, parse_call
from broker_plane.plane.durable_tasks.run import TaskRun
from broker_plane.plane.durable_tasks.worker import Outcome, TaskDeferred, TaskFailure, TaskResult
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.wire.exact_json import dumps
from broker_plane.wire.json_rpc import INTERNAL_ERROR

log = redacted_logger(__name__)

_OUTAGE_SECONDS = 1.0
_OTHER_VERSION_SECONDS = 30.0
"""When a tool that this process does not have is offered again: another version of the server may have it."""


class TaskExecution:
    """Executes runs on `server`. `tools` are the names of its task tools, `state` what its lifespan yielded."""

    def __init__(self, server: MCPServer[Any], tools: Container[str], state: Any) -> None:
        self._server = server
        self._tools = tools
        self._state = state

    async def __call__(self, run: TaskRun) -> Outcome:
        """Call the tool of a run, and return how the task goes on."""
        call = parse_call(run.call)
        if call.params.name not in self._tools:
            return TaskDeferred(_OTHER_VERSION_SECONDS)
        task = TaskContext(run, run.record.id, call.capabilities)
        try:
            with calling(call.params.name, task), serving_client(call.client_id):
                result = await self._server.call_tool(
                    call.params.name, call.params.arguments or {}, self._context(call)
                )
        except MCPError as error:
            return TaskFailure(error.error.model_dump(mode="json", by_alias=True, exclude_none=True))
        except ToolError as error:
            return _failed(error)
        except SystemExit as error:  # it would end this process, and with it the tasks of others
            log.error("The tool %s tried to end its process: %r", call.params.name, error)
            return _error(f"Error executing tool {call.params.name}: {error!r}")
        if isinstance(result, InputRequiredResult):
            return TaskFailure({"code": INTERNAL_ERROR, "message": "The tool asks again what it had asked before"})
        return TaskResult(dumps(result.model_dump(mode="json", by_alias=True, exclude_none=True)))

    def _context(self, call: TaskCall) -> Context[Any, Any]:
        meta = call.params.meta
        connection = Connection.from_envelope(
            call.version, None, (call.capabilities and call.capabilities.model_dump(by_alias=True)) or {}
        )
        request = ServerRequestContext(
            session=ServerSession(_Nobody(), connection, request_meta=meta),
            lifespan_context=self._state,
            method="tools/call",
            params=call.params.model_dump(mode="json", by_alias=True, exclude_none=True),
            request_id=None,
            meta=meta,
            protocol_version=call.version,
        )
        return Context(request_context=request, mcp_server=self._server, input_params=call.params)


class _Nobody:
    """The SDK's DispatchContext of a run: its client has left, so notifications and progress reach nobody."""

    transport = TransportContext(kind="task", can_send_request=False)
    can_send_request = False
    request_id = None
    message_metadata = None

    def __init__(self) -> None:
        self.cancel_requested = anyio.Event()

    async def send_raw_request(self, method: str, params: Mapping[str, Any] | None, opts: Any = None) -> dict[str, Any]:
        raise NoBackChannelError(method)

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: Any = None) -> None:
        """Nobody hears it."""

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Nobody hears it."""


def _failed(error: ToolError) -> Outcome:
    if isinstance(error.__cause__, BrokerUnavailableError):  # completed steps are kept
        return TaskDeferred(_OUTAGE_SECONDS)
    if isinstance(error, UnexpectedToolError):
        log.error("A task failed", exc_info=error)
    return _error(str(error))


def _error(text: str) -> TaskResult:
    result = CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)
    return TaskResult(dumps(result.model_dump(mode="json", by_alias=True, exclude_none=True)))
