"""`TaskContext`: what the function of a task tool has of its task."""

from __future__ import annotations

import functools
import inspect
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar, get_type_hints, overload

from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver import Elicit
from mcp.types import ClientCapabilities
from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter
from pydantic_core import PydanticSerializationError

from broker_plane.errors import TaskError
from broker_plane.mcp_server.task_questions import Question, answer_of, check_declared, request_of
from broker_plane.mcp_server.task_threads import in_thread

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

_EXACT = ConfigDict(ser_json_inf_nan="constants", ser_json_bytes="base64", val_json_bytes="base64")


class RunOfTask(Protocol):
    """What a run stores; `plane.durable_tasks.run.TaskRun` is one."""

    @property
    def cancelled(self) -> bool: ...

    async def step(self, name: str, make: Callable[[], Awaitable[bytes]]) -> bytes: ...

    async def input(self, key: str, request: dict[str, Any]) -> dict[str, Any]: ...

    async def say(self, text: str) -> None: ...


class TaskContext:
    """The task of a call. A tool's function has it where a parameter is annotated with this class.

    Another process may run the function again, from its beginning. Completed steps are not repeated, and others can
    recognise the task by its `key`.
    """

    def __init__(self, run: RunOfTask, key: str, capabilities: ClientCapabilities | None = None) -> None:
        self._run = run
        self._capabilities = capabilities
        self.key = key
        """Identifies the task: the same in all its runs, and that of no other task. A key for idempotent effects."""

    @property
    def cancelled(self) -> bool:
        """Whether the client has cancelled the task. A coroutine is also cancelled at its next await."""
        return self._run.cancelled

    @overload
    async def step(
        self, name: str, function: Callable[..., Awaitable[T]], /, *arguments: Any, **keywords: Any
    ) -> T: ...

    @overload
    async def step(self, name: str, function: Callable[..., T], /, *arguments: Any, **keywords: Any) -> T: ...

    async def step(self, name: str, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Any:
        """Return what `function(*arguments, **keywords)` returns, and store it: a later run gets it without a call.

        The function may be plain, and then runs in a thread. Its value is stored as JSON, and read back as its return
        annotation says, also in the first run. A step that fails or is interrupted is run again, so its effects should
        be idempotent by `key` and `name`.

        Raises:
            TaskError: the task has another step of that name, or the value cannot be stored as JSON.
        """
        adapter = _adapter(function)

        async def make() -> bytes:
            value = await _called(function, arguments, keywords)
            try:
                return adapter.dump_json(value, warnings=False)
            except (PydanticSerializationError, ValueError) as error:
                kind = type(value).__name__
                raise TaskError(
                    f"The step {name!r} returned a {kind} that cannot be stored as JSON; return rows, models or text"
                ) from error

        return adapter.validate_json(await self._run.step(name, make))

    @overload
    async def input(self, key: str, question: Elicit[M]) -> ElicitationResult[M]: ...

    @overload
    async def input(self, key: str, question: Question) -> Any: ...

    async def input(self, key: str, question: Question) -> Any:
        """Ask the client, and return its answer: `await task.input("approve", Elicit("Send it?", Approval))`.

        `question` is one of the SDK's `Elicit`, `Sample` and `ListRoots`, or a request of `mcp.types`. Until the answer
        is there this run ends, and a later one calls the function again; so put the work before it into steps. Several
        questions are asked at once within `asyncio.gather`. A key means one question for the life of the task.

        Raises:
            MCPError: the client did not declare that it answers such questions. TaskError: too many, or too large.
        """
        request = request_of(question)
        check_declared(request, self._capabilities)
        return answer_of(question, await self._run.input(key, request))

    async def status(self, text: str) -> None:
        """Say how far the task is: clients see it as `statusMessage`."""
        await self._run.say(text)


class DirectRun:
    """The run of a task tool that is called in its own process, without a client: nothing is stored."""

    cancelled = False

    async def step(self, name: str, make: Callable[[], Awaitable[bytes]]) -> bytes:
        return await make()

    async def input(self, key: str, request: dict[str, Any]) -> dict[str, Any]:
        raise TaskError(f"The task asks its client for {key!r}, and this call has no client")

    async def say(self, text: str) -> None:
        """Nobody listens."""


def direct_task() -> TaskContext:
    """A task of a call without a client."""
    anything = ClientCapabilities.model_validate({"elicitation": {}, "sampling": {}, "roots": {}})
    return TaskContext(DirectRun(), secrets.token_urlsafe(18), anything)


async def _called(function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    if inspect.iscoroutinefunction(inspect.unwrap(function)):
        return await function(*arguments, **keywords)
    made = await in_thread(functools.partial(function, *arguments, **keywords))
    return await made if inspect.isawaitable(made) else made


def _adapter(function: Callable[..., Any]) -> TypeAdapter[Any]:
    inner = function.func if isinstance(function, functools.partial) else function
    try:
        hint = get_type_hints(inner, include_extras=True).get("return", Any)
    except (NameError, TypeError):  # annotations that only a type checker can resolve
        hint = Any
    try:
        return TypeAdapter(hint, config=_EXACT)
    except PydanticUserError:  # a model or a dataclass, which has a configuration of its own
        return TypeAdapter(hint)
