"""The dispatcher removes bodies and large results from what tools return, and restores them in the calls of a model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from broker_plane.agent.buffer import Bodies, Buffer, is_handle, is_lasting
from broker_plane.agent.held_results import HoldingRule, held_text
from broker_plane.agent.large_results import LargeResult, large_result
from broker_plane.agent.shapes import FoundBodies
from broker_plane.agent.transcript import Transcript
from broker_plane.errors import AgentError, BrokerPlaneError, BufferFullError
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.reading.held_back import table_members, text_members
from broker_plane.shapes.table import Opaque, check_shape
from broker_plane.tabular.json_values import exact_json_bytes
from broker_plane.wire import slips

log = redacted_logger(__name__)

URL = "resource_url"
BODY = "body_data"
_MAX_URL_LENGTH = 4096


@dataclass(slots=True)
class ToolCall:
    """A tool call with its handles replaced: `arguments` go to the tool, `taken` bodies go back if it fails."""

    arguments: dict[str, Any]
    taken: dict[str, Any] = field(default_factory=dict)

    def fill(self, handle: str, body: Any) -> None:
        """Put `body` in place of `handle`.

        One in `resource_url` or `body_data` goes into `body_data`, as rows; `resource_url` is left empty, for tools
        that require one. One in another argument is replaced by the whole text.
        """
        names = [name for name, value in self.arguments.items() if _handle_in(name, value) == handle]
        held = held_text(body) if is_lasting(handle) else None
        text = exact_json_bytes(body).decode() if held is None else held.text
        for name in names:
            if name not in (URL, BODY):
                self.arguments[name] = text
        if {URL, BODY} & set(names):
            self.arguments[URL] = ""
            self.arguments[BODY] = text if held is None else held.body_data()
        if held is None:
            self.taken[handle] = body


class Dispatcher:
    """Mediates between a model and its tools. `bodies` stores bodies; `transcript` records what the model gets.

    Results of more than `threshold` tokens are held back; without a number, those that the MCP client named `client`
    would cut off itself, else those of more than 10,000 tokens (reading/clients.py). `shapes` says what a tool returns,
    such as {"read_file": "text"}, where the recogniser would guess wrong (docs/shapes.md).
    """

    def __init__(
        self,
        bodies: Bodies | None = None,
        transcript: Transcript | None = None,
        *,
        threshold: int | None = None,
        client: str = "",
        shapes: Mapping[str, str] | None = None,
    ) -> None:
        self.bodies: Bodies = Buffer() if bodies is None else bodies
        self.transcript = transcript or Transcript()
        self.rule = HoldingRule(threshold, client, {tool: check_shape(shape) for tool, shape in (shapes or {}).items()})
        self.readers: frozenset[str] = frozenset()
        """The names of the reading tools that the model has. Their arguments and results pass unchanged."""

    async def result(self, tool: str, result: Any) -> Any:
        """`result` for the model: a `ddi://` handle as `resource_url` in place of every body of sync mode.

        Any other large result becomes a small one that says what it is and where. If it cannot be stored, it passes
        unchanged, with a warning.

        Raises:
            BufferFullError: a body of sync mode does not fit; the model must not get this result.
        """
        found = FoundBodies(result)
        seen = found.without([await self.bodies.keep(body) for body in found.bodies])
        if self._may_hold(tool, seen) and (large := await asyncio.to_thread(large_result, tool, seen, self.rule)):
            try:
                seen = self._small(large, await self.bodies.hold(large.held))
            except Exception as error:  # noqa: BLE001  # also of a library, if the broker is unavailable
                log.warning("The result of %s is not held back: it could not be stored (%r)", tool, error)
        return self._seen(tool, seen)

    async def call(self, tool: str, arguments: Mapping[str, Any] | None) -> ToolCall:
        """The call for the tool: a `ddi://` handle in `resource_url` becomes `body_data`, the rows as JSON text.

        A handle that is the whole of another argument is replaced by the text that was held back. Everything else,
        including an http `resource_url`, is unchanged.

        Raises:
            StaleHandleError: the handle is invalid; the model has to call the resource tool again.
        """
        call, handles = self._noted(tool, arguments)
        for handle in handles:
            body = await self.bodies.give(handle)
            await asyncio.to_thread(call.fill, handle, body)
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
        if self._may_hold(tool, seen) and (large := large_result(tool, seen, self.rule)):
            try:
                seen = self._small(large, buffer.put_held(large.held))
            except BufferFullError as error:
                log.warning("The result of %s is not held back: %s", tool, error)
        return self._seen(tool, seen)

    def call_now(self, tool: str, arguments: Mapping[str, Any] | None) -> ToolCall:
        """As `call`, for a synchronous tool; requires a `Buffer` in memory."""
        call, handles = self._noted(tool, arguments)
        for handle in handles:
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

    def _may_hold(self, tool: str, result: Any) -> bool:
        short = isinstance(result, (str, bytes)) and len(result) < self.rule.least_characters
        return not short and not self._reads(tool)

    def _small(self, large: LargeResult, place: dict[str, Any]) -> Any:
        """The result that stands for a large one, in the framework's form."""
        found, readers = large.held.found, self.readers
        members = text_members(found, readers) if isinstance(found, Opaque) else table_members(found, readers)
        return large.form.replaced(members | place)

    def _seen(self, tool: str, seen: Any) -> Any:
        self.transcript.returned(tool, seen.content if hasattr(seen, "artifact") else seen)  # which no model reads
        return seen

    def _reads(self, tool: str) -> bool:
        """Whether it is a reading tool; Claude's CLI puts the server's name before it."""
        return tool.rpartition("__")[2] in self.readers

    def _noted(self, tool: str, arguments: Mapping[str, Any] | None) -> tuple[ToolCall, list[str]]:
        """The call as the model wrote it, and the handles in it that are to be replaced."""
        given = dict(arguments or {})
        self.transcript.called(tool, given)
        if self._reads(tool):
            return ToolCall(given), []
        found = {name: handle for name, value in given.items() if (handle := _handle_in(name, value))}
        if len({found[name] for name in (URL, BODY) if name in found}) > 1:
            found = {name: handle for name, handle in found.items() if name not in (URL, BODY)}
        return ToolCall(given), list(dict.fromkeys(found.values()))

    def _undo_now(self, call: ToolCall) -> None:
        for handle, body in call.taken.items():
            self._memory().put_again(handle, body)

    def _memory(self) -> Buffer:
        if not isinstance(self.bodies, Buffer):
            raise AgentError("Bodies in the plane need async tools; make the tool a coroutine, or use Buffer()")
        return self.bodies


def _handle_in(name: str, value: Any) -> str:
    """The handle that an argument is; empty for any other. Some models put it into the one for the body itself."""
    found = _url(value) if name in (URL, BODY) else value.strip() if isinstance(value, str) else value
    return found if is_handle(found) and not any(letter.isspace() for letter in found) else ""


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
