"""Task tools as functions of the SDK: a call of a client becomes a task, and a run of the task calls the function.

Both go through the SDK's own call of a tool, which validates the arguments and asks the questions of resolvers. Which
of the two a call is, its caller says in a context variable.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from mcp.shared.exceptions import MCPError

from broker_plane.errors import ConfigError
from broker_plane.mcp_server.task_context import TaskContext, direct_task
from broker_plane.mcp_server.task_threads import in_thread
from broker_plane.tabular.sources import source_of
from broker_plane.tools.signature import Function, bare_annotation, name_of, parameters_of
from broker_plane.wire.json_rpc import INTERNAL_ERROR

MAX_TTL_SECONDS = 30 * 86_400
"""Longest lifetime of a task, as of a body."""


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """Options of one task tool. `ttl_seconds` is the lifetime of its tasks; `wait_seconds` how long a client without
    the extension waits for a result, None if it need not ask at all.
    """

    ttl_seconds: int
    wait_seconds: float | None


def task_seconds(ttl: int) -> int:
    """Raise ConfigError unless `ttl` is a lifetime that NATS can hold a task for, in seconds."""
    if not 1 <= ttl <= MAX_TTL_SECONDS:
        raise ConfigError(f"ttl={ttl} is not a lifetime of a task: write 1 to {MAX_TTL_SECONDS} seconds")
    return ttl


class TaskDue(MCPError):
    """A client called a task tool with valid arguments: a task is to be created. Never seen outside of this room."""

    def __init__(self) -> None:
        super().__init__(INTERNAL_ERROR, "This tool runs as a task only")


class _Call:
    """A call of a task tool: by a client (no task), or by a run of its task, which passes it on once."""

    def __init__(self, tool: str, task: TaskContext | None) -> None:
        self.tool = tool
        self._task = task
        self._by_client = task is None

    def take(self) -> TaskContext | None:
        """The task of this call. Raises TaskDue if a client called."""
        if self._by_client:
            raise TaskDue
        task, self._task = self._task, None
        return task


_call: ContextVar[_Call | None] = ContextVar("task_call", default=None)
_task: ContextVar[TaskContext | None] = ContextVar("task", default=None)


@contextmanager
def calling(tool: str, task: TaskContext | None) -> Any:
    """A block in which `tool` is called: by a client, or by a run of `task`."""
    token = _call.set(_Call(tool, task))
    try:
        yield
    finally:
        _call.reset(token)


def with_task(function: Function) -> Function:
    """`function` without its parameter for the task, which is passed on from the call.

    Raises:
        ConfigError: it has several such parameters, or takes one and is no coroutine function.
    """
    parameters = parameters_of(function)
    own = [each.name for each in parameters if bare_annotation(each.annotation) is TaskContext]
    if len(own) > 1:
        raise ConfigError(f"The tool {name_of(function)} has several parameters for its task; keep one")
    if own and not inspect.iscoroutinefunction(function):
        raise ConfigError(
            f"The tool {name_of(function)} takes a task, so it has to be a coroutine function (async def)"
        )
    others = [each for each in parameters if each.name not in own]

    async def bound(**arguments: Any) -> Any:
        if own:
            return await function(**arguments, **{own[0]: _task.get() or direct_task()})
        if inspect.iscoroutinefunction(function):
            return await function(**arguments)
        return await in_thread(lambda: source_of(function(**arguments)))

    return _named(bound, function, others)


def task_tool(name: str, tool: Function) -> Function:
    """`tool`, which a framework has made of `with_task(function)`, for calls of clients and for runs of their tasks."""

    async def called(**arguments: Any) -> Any:
        call = _call.get()
        # A tool that a task's function calls in this process has no task of its own.
        task = call.take() if call is not None and call.tool == name else None
        token = _task.set(task)
        try:
            return await tool(**arguments)
        finally:
            _task.reset(token)

    called.__annotations__ = tool.__annotations__
    called.__signature__ = tool.__signature__  # type: ignore[attr-defined]
    called.__name__, called.__qualname__ = tool.__name__, tool.__qualname__
    called.__doc__, called.__module__ = tool.__doc__, tool.__module__
    return called


def _named(made: Callable[..., Any], function: Function, parameters: Sequence[inspect.Parameter]) -> Function:
    signature = inspect.signature(function, eval_str=True)
    made.__name__ = made.__qualname__ = name_of(function)
    made.__doc__ = inspect.getdoc(function)
    made.__module__ = function.__module__
    made.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    made.__annotations__ = {each.name: each.annotation for each in parameters if each.annotation is not each.empty}
    if signature.return_annotation is not signature.empty:
        made.__annotations__["return"] = signature.return_annotation
    return made
