"""PlaneClient: a client of an MCP server whose agent gets abstracts, and passes bodies on without reading them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mcp.types import CallToolResult, TextContent, Tool, ToolAnnotations

from broker_plane.agent.dispatcher import URL, Dispatcher
from broker_plane.agent.reading_tools import AgentTool, agent_tools
from broker_plane.agent.transcript import TOKEN_BYTES, text_of
from broker_plane.errors import AgentError
from broker_plane.plane.redacted_logs import redact_loggers
from broker_plane.runtime.plane import Plane
from broker_plane.tabular.json_values import exact_json_bytes
from broker_plane.tools.sdk_version import sdk_2_missing
from broker_plane.wire.exact_json import MALFORMED, loads

try:
    from mcp import Client
except ImportError as error:
    raise sdk_2_missing("PlaneClient") from error

redact_loggers("mcp", "client")  # at DEBUG they log messages, and results contain grants

Row = dict[str, Any]


@dataclass(slots=True)
class Tokens:
    """Tokens (4 UTF-8 bytes each) that the model was `shown`, and that were `kept_out` of its context.

    A body in the plane counts with its stored size, one in memory with its JSON.
    """

    shown_bytes: int = 0
    kept_out_bytes: int = 0

    @property
    def shown(self) -> int:
        return -(-self.shown_bytes // TOKEN_BYTES)

    @property
    def kept_out(self) -> int:
        return -(-self.kept_out_bytes // TOKEN_BYTES)


@dataclass(frozen=True, slots=True)
class Abstract:
    """The part of a table for the model: `rows` of a few columns with their `_row_id`, and the URL of the rest."""

    rows: list[Row]
    resource_url: str
    columns: list[str]
    total_rows: int
    said: dict[str, Any] = field(repr=False)
    """The whole text of the result, as JSON."""


class PlaneClient:
    """Wraps the SDK's `Client`, which the caller opens and closes. Several may share one dispatcher.

    Every text that it returns is recorded in `dispatcher.transcript`, and may be given to the model.
    """

    def __init__(self, client: Client, dispatcher: Dispatcher | None = None, tokens: Tokens | None = None) -> None:
        self.client = client
        self.dispatcher = dispatcher or Dispatcher()
        self.tokens = tokens or Tokens()
        self._reading: dict[str, AgentTool] = {}

    async def abstract(
        self,
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        columns: Sequence[str],
        mode: Literal["async", "sync"] = "async",
    ) -> Abstract:
        """Call a resource tool for `columns` only. In sync mode the body arrives inline and the dispatcher stores it.

        Raises:
            AgentError: the tool failed, or returned no abstract.
        """
        given = {**(arguments or {}), "abstract_domains": ",".join(columns), "mode": mode}
        said = _shape(await self._called(tool, given), tool)
        return Abstract(
            rows=said["abstract"],
            resource_url=said.get(URL, ""),
            columns=said.get("columns", []),
            total_rows=said.get("total_rows", len(said["abstract"])),
            said=said,
        )

    async def hand_on(self, tool: str, found: Abstract, rows: Sequence[Row] | None = None, **arguments: Any) -> str:
        """Call a consumer tool with the body of `found`; `rows` are the chosen ones, None means all.

        Returns the text of its result.

        Raises:
            AgentError: the tool failed; the text says why.
        """
        given: dict[str, Any] = {URL: found.resource_url, **arguments}
        if rows is not None:
            given["abstract_data"] = exact_json_bytes(list(rows)).decode()
        result = await self._called(tool, given)
        return _text(result, tool)

    async def call(self, tool: str, arguments: Mapping[str, Any] | None = None) -> CallToolResult:
        """Call any tool as a model does: handles are accepted, bodies and large results are not returned.

        The tools of `reading_tools` are carried out here.

        Raises:
            StaleHandleError, BufferFullError: as `Dispatcher`.
        """
        own = self._reading.get(tool)
        if own is None:
            return await self._called(tool, arguments or {})
        self.dispatcher.transcript.called(tool, arguments or {})
        answer = await own.call(arguments or {})
        made = CallToolResult(content=[TextContent(type="text", text=answer.text)], is_error=answer.is_error)
        self.dispatcher.transcript.returned(tool, made)
        self.tokens.shown_bytes += len(answer.text.encode()) + len(exact_json_bytes(dict(arguments or {})))
        return made

    def reading_tools(self, plane: Plane | None = None, *, taken: Collection[str] = ()) -> list[Tool]:
        """Definitions of `read_body` and `describe_body`, and of `query_body` with a plane, to list beside the
        server's tools. `taken` are the names of those.
        """
        made = agent_tools(self.dispatcher, plane=plane, taken=taken)
        self._reading = {each.name: each for each in made}
        return [
            Tool(
                name=each.name,
                title=each.tool.title,
                description=each.tool.description,
                input_schema=each.tool.input_schema,
                annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
            )
            for each in made
        ]

    async def _called(self, tool: str, arguments: Mapping[str, Any]) -> CallToolResult:
        whole: list[Any] = []

        async def run(filled: dict[str, Any]) -> Any:
            whole.append(await self.client.call_tool(tool, filled))
            return whole[0]

        seen: CallToolResult = await self.dispatcher.around(tool, arguments, run)
        shown = sum(len(block.text.encode()) for block in seen.content if block.type == "text")
        self.tokens.shown_bytes += shown + len(exact_json_bytes(dict(arguments)))
        self.tokens.kept_out_bytes += _stored(seen) or max(0, len(text_of(whole[0])) - len(text_of(seen)))
        return seen


def _stored(result: CallToolResult) -> int:
    return sum(block.size or 0 for block in result.content if block.type == "resource_link")


def _shape(result: CallToolResult, tool: str) -> dict[str, Any]:
    try:
        said = loads(_text(result, tool))
    except MALFORMED as error:
        raise AgentError(f"{tool} did not return JSON; is it a resource tool?") from error
    if not isinstance(said, dict) or not isinstance(said.get("abstract"), list):
        raise AgentError(f"{tool} did not return an abstract; is it a resource tool?")
    return said


def _text(result: CallToolResult, tool: str) -> str:
    text = "\n".join(block.text for block in result.content if block.type == "text")
    if result.is_error:
        raise AgentError(f"{tool} failed: {text}")
    return text
