"""The dispatcher: what a tool returned loses its bodies, and what the model calls a tool with gets them back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from broker_plane.agent.buffer import Bodies, Buffer, is_handle
from broker_plane.agent.shapes import Sighting
from broker_plane.agent.transcript import Transcript
from broker_plane.errors import AgentError, BrokerPlaneError
from broker_plane.tabular.json_values import exact_json_bytes
from broker_plane.wire import slips

URL = "resource_url"
BODY = "body_data"
_MOST_URL = 4096


@dataclass(slots=True)
class Call:
    """A tool call whose handles are replaced: `arguments` go to the tool, `taken` go back if it comes to nothing."""

    arguments: dict[str, Any]
    taken: dict[str, Any] = field(default_factory=dict)

    def fill(self, handle: str, body: Any) -> None:
        """`body` stands in `body_data`, in place of its handle; `resource_url` is empty, for tools that require one."""
        self.arguments[URL] = ""
        self.arguments[BODY] = exact_json_bytes(body).decode()
        self.taken[handle] = body


class Dispatcher:
    """Stands between a model and its tools. Bodies wait in `bodies`; what the model gets is noted in `transcript`."""

    def __init__(self, bodies: Bodies | None = None, transcript: Transcript | None = None) -> None:
        self.bodies: Bodies = Buffer() if bodies is None else bodies
        self.transcript = transcript or Transcript()

    async def result(self, tool: str, result: Any) -> Any:
        """What the model may see of `result`: a `ddi://` handle as `resource_url` in place of every body.

        Raises:
            BufferFullError: a body does not fit; the model gets nothing of this result.
        """
        sighting = Sighting(result)
        seen = sighting.without([await self.bodies.keep(body) for body in sighting.bodies])
        self.transcript.returned(tool, seen)
        return seen

    async def call(self, tool: str, arguments: Mapping[str, Any] | None) -> Call:
        """The call that the tool gets: a `ddi://` handle in `resource_url` becomes `body_data`, the rows as JSON text.

        Everything else, an http `resource_url` too, stays as it is.

        Raises:
            StaleHandleError: the handle gives nothing; the model has to call the resource tool again.
        """
        call, handle = self._noted(tool, arguments)
        if handle:
            call.fill(handle, await self.bodies.give(handle))
        return call

    async def undo(self, call: Call) -> None:
        """The tool failed: its handles are good for another try."""
        for handle, body in call.taken.items():
            await self.bodies.put_back(handle, body)

    async def around(
        self, tool: str, arguments: Mapping[str, Any] | None, run: Callable[[dict[str, Any]], Awaitable[Any]]
    ) -> Any:
        """One whole tool call: `run` gets the arguments with bodies, the caller gets the result without them."""
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
        """As `result`, for a tool that is no coroutine; only with a `Buffer` in memory."""
        buffer = self._memory()
        sighting = Sighting(result)
        seen = sighting.without([buffer.put(body) for body in sighting.bodies])
        self.transcript.returned(tool, seen)
        return seen

    def call_now(self, tool: str, arguments: Mapping[str, Any] | None) -> Call:
        """As `call`, for a tool that is no coroutine; only with a `Buffer` in memory."""
        call, handle = self._noted(tool, arguments)
        if handle:
            call.fill(handle, self._memory().take(handle))
        return call

    def around_now(self, tool: str, arguments: Mapping[str, Any] | None, run: Callable[[dict[str, Any]], Any]) -> Any:
        """As `around`, for a tool that is no coroutine; only with a `Buffer` in memory."""
        call = self.call_now(tool, arguments)
        try:
            result = run(call.arguments)
        except BaseException:
            self._undo_now(call)
            raise
        if failed(result):
            self._undo_now(call)
        return self.result_now(tool, result)

    def _noted(self, tool: str, arguments: Mapping[str, Any] | None) -> tuple[Call, str]:
        given = dict(arguments or {})
        self.transcript.called(tool, given)
        # Some models put the handle where the body itself would go.
        handles = [url for name in (URL, BODY) if is_handle(url := _url(given.get(name)))]
        return Call(given), handles[0] if len(set(handles)) == 1 else ""

    def _undo_now(self, call: Call) -> None:
        for handle, body in call.taken.items():
            self._memory().put_again(handle, body)

    def _memory(self) -> Buffer:
        if not isinstance(self.bodies, Buffer):
            raise AgentError("Bodies in the plane need async tools; make the tool a coroutine, or use Buffer()")
        return self.bodies


def _url(value: Any) -> Any:
    """The URL that an argument holds; rows are none, and need no second look."""
    short = isinstance(value, (list, dict)) or (isinstance(value, str) and len(value) <= _MOST_URL)
    return slips.url(value) if short else value


def parse_arguments(text: str) -> dict[str, Any]:
    """The arguments of a call that a framework hands on as JSON text.

    Raises:
        AgentError: it is no JSON object.
    """
    try:
        parsed = {} if slips.is_nothing(text) else slips.read(text)
    except ValueError as error:
        raise AgentError("The tool's arguments are not JSON; write them as one JSON object") from error
    if not isinstance(parsed, dict):
        raise AgentError("The tool's arguments are a JSON object")
    return parsed


def said(error: BrokerPlaneError) -> str:
    """What the model is told of an error of ours."""
    return f"Error: {error}"


def failed(result: Any) -> bool:
    """Whether a result says that it is an error, as MCP 2.x, 1.x and the Claude Agent SDK spell it."""
    if isinstance(result, Mapping):
        return bool(result.get("is_error") or result.get("isError"))
    return bool(getattr(result, "is_error", False) or getattr(result, "isError", False))
