"""The dispatcher: removes bodies from what tools return, and restores them in the calls that a model makes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from broker_plane.agent.buffer import Bodies, Buffer, is_handle
from broker_plane.agent.shapes import FoundBodies
from broker_plane.agent.transcript import Transcript
from broker_plane.errors import AgentError, BrokerPlaneError
from broker_plane.tabular.json_values import exact_json_bytes
from broker_plane.wire import slips

URL = "resource_url"
BODY = "body_data"
_MAX_URL_LENGTH = 4096


@dataclass(slots=True)
class ToolCall:
    """A tool call with its handles replaced: `arguments` go to the tool, `taken` bodies go back if it fails."""

    arguments: dict[str, Any]
    taken: dict[str, Any] = field(default_factory=dict)

    def fill(self, handle: str, body: Any) -> None:
        """Put `body` into `body_data`; `resource_url` is left empty, for tools that require one."""
        self.arguments[URL] = ""
        self.arguments[BODY] = exact_json_bytes(body).decode()
        self.taken[handle] = body


class Dispatcher:
    """Mediates between a model and its tools. `bodies` stores bodies; `transcript` records what the model gets."""

    def __init__(self, bodies: Bodies | None = None, transcript: Transcript | None = None) -> None:
        self.bodies: Bodies = Buffer() if bodies is None else bodies
        self.transcript = transcript or Transcript()

    async def result(self, tool: str, result: Any) -> Any:
        """`result` for the model: a `ddi://` handle as `resource_url` in place of every body.

        Raises:
            BufferFullError: a body does not fit; the model must not get this result.
        """
        found = FoundBodies(result)
        seen = found.without([await self.bodies.keep(body) for body in found.bodies])
        self.transcript.returned(tool, seen)
        return seen

    async def call(self, tool: str, arguments: Mapping[str, Any] | None) -> ToolCall:
        """The call for the tool: a `ddi://` handle in `resource_url` becomes `body_data`, the rows as JSON text.

        Everything else, including an http `resource_url`, is unchanged.

        Raises:
            StaleHandleError: the handle is invalid; the model has to call the resource tool again.
        """
        call, handle = self._noted(tool, arguments)
        if handle:
            call.fill(handle, await self.bodies.give(handle))
        return call

    async def undo(self, call: ToolCall) -> None:
        """Make the handles of a failed call valid again."""
        for handle, body in call.taken.items():
            await self.bodies.put_back(handle, body)

    async def around(
        self, tool: str, arguments: Mapping[str, Any] | None, run: Callable[[dict[str, Any]], Awaitable[Any]]
    ) -> Any:
        """One whole tool call: `run` gets the arguments with bodies, and the caller the result without them."""
        call = await self.call(tool, arguments)
        try:
            result = await run(call.arguments)
        except BaseException:
            await self.undo(call)
            raise
        if failed(result):
            await self.undo(call)
        return await self.result(tool, result)

    def result_now(self, tool: str, result: Any) -> Any:
        """As `result`, for a synchronous tool; requires a `Buffer` in memory."""
        buffer = self._memory()
        found = FoundBodies(result)
        seen = found.without([buffer.put(body) for body in found.bodies])
        self.transcript.returned(tool, seen)
        return seen

    def call_now(self, tool: str, arguments: Mapping[str, Any] | None) -> ToolCall:
        """As `call`, for a synchronous tool; requires a `Buffer` in memory."""
        call, handle = self._noted(tool, arguments)
        if handle:
            call.fill(handle, self._memory().take(handle))
        return call

    def around_now(self, tool: str, arguments: Mapping[str, Any] | None, run: Callable[[dict[str, Any]], Any]) -> Any:
        """As `around`, for a synchronous tool; requires a `Buffer` in memory."""
        call = self.call_now(tool, arguments)
        try:
            result = run(call.arguments)
        except BaseException:
            self._undo_now(call)
            raise
        if failed(result):
            self._undo_now(call)
        return self.result_now(tool, result)

    def _noted(self, tool: str, arguments: Mapping[str, Any] | None) -> tuple[ToolCall, str]:
        given = dict(arguments or {})
        self.transcript.called(tool, given)
        # Some models put the handle into the argument for the body itself.
        handles = [url for name in (URL, BODY) if is_handle(url := _url(given.get(name)))]
        return ToolCall(given), handles[0] if len(set(handles)) == 1 else ""

    def _undo_now(self, call: ToolCall) -> None:
        for handle, body in call.taken.items():
            self._memory().put_again(handle, body)

    def _memory(self) -> Buffer:
        if not isinstance(self.bodies, Buffer):
            raise AgentError("Bodies in the plane need async tools; make the tool a coroutine, or use Buffer()")
        return self.bodies


def _url(value: Any) -> Any:
    """The URL in an argument; long values are rows and are not searched."""
    short = isinstance(value, (list, dict)) or (isinstance(value, str) and len(value) <= _MAX_URL_LENGTH)
    return slips.url(value) if short else value


def parse_arguments(text: str) -> dict[str, Any]:
    """The arguments of a call that a framework passes as JSON text.

    Raises:
        AgentError: the text is not a JSON object.
    """
    try:
        parsed = {} if slips.is_nothing(text) else slips.read(text)
    except ValueError as error:
        raise AgentError("The tool's arguments are not JSON; write them as one JSON object") from error
    if not isinstance(parsed, dict):
        raise AgentError("The tool's arguments must be a JSON object")
    return parsed


def error_text(error: BrokerPlaneError) -> str:
    """The text of one of our errors for the model."""
    return f"Error: {error}"


def failed(result: Any) -> bool:
    """Whether a result is marked as an error, in the spelling of MCP 2.x, 1.x or the Claude Agent SDK."""
    if isinstance(result, Mapping):
        return bool(result.get("is_error") or result.get("isError"))
    return bool(getattr(result, "is_error", False) or getattr(result, "isError", False))
