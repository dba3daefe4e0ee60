"""The Tasks extension (SEP-2663): calls of task tools become durable tasks, which clients get, answer and cancel.

A client that does not declare the extension waits for the result, if the tool permits that, and gets the error -32021
if it takes too long: the task is then cancelled, because nobody could ask for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver.server import require_client_extension
from mcp.server.subscriptions import SubscriptionBus
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolRequestParams, CallToolResult, TextContent

from broker_plane.errors import BrokerPlaneError, KeyReusedError, TaskNotFoundError, WireError
from broker_plane.mcp_server.offers import client_of_request
from broker_plane.mcp_server.task_functions import TaskDue, TaskOptions, calling
from broker_plane.mcp_server.task_listen import MAX_LISTENERS, TaskListener, too_many, wanted_tasks
from broker_plane.mcp_server.task_questions import check_answer
from broker_plane.mcp_server.task_shapes import (
    MODERN,
    TaskParams,
    UpdateTaskParams,
    call_of,
    check_tasks_request,
    declares_tasks,
    idempotency_key,
    key_error,
    parse_call,
    task_client,
)
from broker_plane.plane.durable_tasks.parts import content_of, detailed, result_of
from broker_plane.wire.json_rpc import INTERNAL_ERROR, INVALID_PARAMS
from broker_plane.wire.tasks import TASKS, TaskRecord, task_fields

if TYPE_CHECKING:
    from broker_plane.runtime.tasks import ServerTasks

_CANCEL_SECONDS = 5.0


class TasksExtension(Extension):
    """Serves the requests about tasks. `connect` gives the tasks of this server, `tools` the options of its tools."""

    identifier = TASKS

    def __init__(
        self,
        connect: Callable[[], Awaitable[ServerTasks]],
        tools: Mapping[str, TaskOptions],
        bus: SubscriptionBus | None,
    ) -> None:
        self._connect = connect
        self._tools = tools
        self._bus = bus
        self._listeners = 0

    def methods(self) -> Sequence[MethodBinding]:
        return [
            MethodBinding("tasks/get", TaskParams, self._get, MODERN),
            MethodBinding("tasks/update", UpdateTaskParams, self._update, MODERN),
            MethodBinding("tasks/cancel", TaskParams, self._cancel, MODERN),
        ]

    async def middleware(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Serve subscriptions to tasks, and advertise the extension only if the server has a task tool."""
        if ctx.method == "subscriptions/listen" and ctx.protocol_version in MODERN:
            wanted = wanted_tasks(ctx.params)
            if wanted is not None:
                return await self._listen(ctx, wanted)
        result = await call_next(ctx)
        if ctx.method == "server/discover" and isinstance(result, dict) and not self._tools:
            return _without(result)
        return result

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Let the SDK validate the call of a task tool, then create its task."""
        options = self._tools.get(params.name)
        if options is None:
            return await call_next(ctx)
        declared = declares_tasks(ctx)
        if not declared and options.wait_seconds is None:
            require_client_extension(ctx, TASKS)
        try:
            with calling(params.name, None):
                return await call_next(ctx)
        except TaskDue:
            pass
        try:
            server = await self._connect()
            record = await self._created(server, options, ctx, params)
            if declared:
                return {"resultType": "task", **task_fields(record, server.tasks.now())}
            keyed = bool(idempotency_key(params, task_client()))
            return await _waited(server, record, options.wait_seconds or 0.0, ctx, keyed=keyed)
        except BrokerPlaneError as error:
            return _error(str(error))

    async def _created(
        self,
        server: ServerTasks,
        options: TaskOptions,
        ctx: ServerRequestContext[Any, Any],
        params: CallToolRequestParams,
    ) -> TaskRecord:
        client = task_client()
        key = idempotency_key(params, client)
        call = call_of(ctx, params, client_of_request())
        ttl_ms = options.ttl_seconds * 1000

        def same(stored: bytes) -> bool:
            return call.same_as(parse_call(stored))

        try:
            return await server.tasks.create(params.name, call.pack(), client=client, ttl_ms=ttl_ms, key=key, same=same)
        except KeyReusedError as error:
            raise key_error("names another call; use another key for this one", error.code) from error

    async def _get(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        check_tasks_request(ctx, params.task_id)
        with _as_protocol_errors():
            server = await self._connect()
            record = await server.tasks.get(params.task_id, task_client())
            shown = await detailed(server.tasks.store, record, server.tasks.now())
            return {"resultType": "complete", **shown}

    async def _update(self, ctx: ServerRequestContext[Any, Any], params: UpdateTaskParams) -> HandlerResult:
        check_tasks_request(ctx, params.task_id)
        with _as_protocol_errors():
            server = await self._connect()
            await server.tasks.answer(params.task_id, task_client(), params.input_responses, check_answer)
        return {"resultType": "complete"}

    async def _cancel(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        check_tasks_request(ctx, params.task_id)
        with _as_protocol_errors():
            server = await self._connect()
            await server.tasks.cancel(params.task_id, task_client())
        return {"resultType": "complete"}

    async def _listen(self, ctx: ServerRequestContext[Any, Any], wanted: Sequence[str]) -> HandlerResult:
        require_client_extension(ctx, TASKS)
        if self._listeners >= MAX_LISTENERS:
            raise too_many()
        self._listeners += 1
        try:
            with _as_protocol_errors():
                return await TaskListener(await self._connect(), ctx, wanted).serve(self._bus)
        finally:
            self._listeners -= 1


async def _waited(
    server: ServerTasks, record: TaskRecord, seconds: float, ctx: ServerRequestContext[Any, Any], *, keyed: bool
) -> HandlerResult:
    """The plain result of a task, for a client that cannot take the task itself.

    If this ends before that, the task is cancelled, unless it is `keyed` and the client has not cancelled the call:
    then this process ends, and another one is asked for the same task.

    Raises:
        MCPError: -32021, if there is no result in time; the task is cancelled.
    """
    goes_on = False
    try:
        with anyio.move_on_after(seconds):
            async with server.watch.news([record.id]) as news:
                while not (record := await server.tasks.get(record.id, record.client)).ended:
                    if record.status == "input_required":  # nobody can answer
                        break
                    await news.next()
    except anyio.get_cancelled_exc_class():
        goes_on = keyed and not _is_cancelled(ctx)
        raise
    finally:
        if not record.ended and not goes_on:
            with anyio.move_on_after(_CANCEL_SECONDS, shield=True), suppress(BrokerPlaneError):
                record = await server.tasks.cancel(record.id, record.client)
    if record.status == "completed":
        return CallToolResult.model_validate(await result_of(server.tasks.store, record), by_name=False)
    if (error := await content_of(server.tasks.store, record, record.error)) is not None:
        raise MCPError(error["code"], error["message"], error.get("data"))
    require_client_extension(ctx, TASKS)
    return _error("The task was cancelled")


def _is_cancelled(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Whether the client has cancelled this request. The SDK has no public access to it."""
    return ctx.session._request_outbound.cancel_requested.is_set()


@contextmanager
def _as_protocol_errors() -> Iterator[None]:
    """Raise errors of the block as JSON-RPC errors: -32602 for an unknown task, -32603 if the broker is away."""
    try:
        yield
    except (TaskNotFoundError, WireError) as error:
        raise MCPError(INVALID_PARAMS, str(error)) from error
    except BrokerPlaneError as error:
        raise MCPError(INTERNAL_ERROR, str(error), {"code": error.code}) from error


def _error(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


def _without(result: dict[str, Any]) -> dict[str, Any]:
    """The result of `server/discover` without the extension."""
    capabilities = result.get("capabilities") or {}
    extensions = {name: value for name, value in (capabilities.get("extensions") or {}).items() if name != TASKS}
    return {**result, "capabilities": {**capabilities, "extensions": extensions}}
