"""S2SPServer: an MCP server (SDK 2.x) with S2SP's decorators, which stores bodies in the plane."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

import msgspec
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, ContentBlock, TextContent

from broker_plane.compat.mcp_sd.cache import DataCache
from broker_plane.compat.mcp_sd.direct_channel import DirectChannel
from broker_plane.compat.mcp_sd.errors import S2SPError
from broker_plane.config import load_settings
from broker_plane.errors import BrokerPlaneError
from broker_plane.tabular.abstract import AbstractBuilder
from broker_plane.tabular.frame import frame_of
from broker_plane.tabular.json_values import json_bytes
from broker_plane.tabular.plain import plain_rows
from broker_plane.tabular.rows import as_rows
from broker_plane.tools.framework_lookup import framework_for
from broker_plane.tools.results import in_async, offered
from broker_plane.tools.signature import call, json_text, keyword, name_of, parameters_of, wrapped
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.urls import data_url

F = TypeVar("F", bound=Callable[..., Any])

_TEACH_RESOURCE = (
    "S2SP: name in abstract_domains only the columns that you need to choose rows (a comma list or a JSON array); the "
    "others stay on the data plane, behind resource_url (mode 'async'), or come as body (mode 'sync')."
)
_TEACH_CONSUMER = (
    "S2SP consumer: pass the chosen abstract rows as abstract_data (JSON), with resource_url (async) or body_data "
    "(sync). column_mapping, a JSON object, renames columns."
)

_RESOURCE = (
    keyword("abstract_domains", json_text("Columns to show; empty: all of them"), ""),
    keyword("mode", json_text("async or sync"), "async"),
)
_CONSUMER = (
    keyword("abstract_data", json_text("JSON array of abstract rows"), inspect.Parameter.empty),
    keyword("resource_url", json_text("Where the body is fetched"), ""),
    keyword("body_data", json_text("JSON array of body rows"), ""),
    keyword("column_mapping", json_text("JSON object that renames columns"), ""),
)


class ContentResult(CallToolResult):
    """A tool result that iterates over its blocks, which is what SDK 1.x returned for most tools."""

    def __getitem__(self, place: int) -> ContentBlock:
        return self.content[place]

    def __iter__(self) -> Iterator[ContentBlock]:  # type: ignore[override]  # pydantic's gives fields
        return iter(self.content)

    def __len__(self) -> int:
        return len(self.content)


class FastMCP(MCPServer[Any]):
    """The FastMCP of SDK 1.x, as far as users of `S2SPServer.mcp` need it."""

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Any = None) -> Any:
        result = await super().call_tool(name, arguments, context)
        if not isinstance(result, CallToolResult):
            return result
        return ContentResult(
            content=result.content,
            structured_content=result.structured_content,
            is_error=result.is_error,
            _meta=result.meta,
        )


class S2SPServer:
    """mcp-sd's server. `cache_ttl`, in seconds, is the lifetime of a body; a `resource_url` allows one delivery."""

    def __init__(self, name: str, s2sp_port: int = 0, s2sp_host: str = "127.0.0.1", cache_ttl: int = 600) -> None:
        settings = load_settings()
        self.name = name
        self._cache_ttl = cache_ttl
        self._direct_channel = DirectChannel(s2sp_port, s2sp_host, settings)
        self._data_cache = DataCache(settings)
        self._mcp = FastMCP(f"{name} (S2SP)", lifespan=self._lifespan, log_level="WARNING")

    @property
    def mcp(self) -> FastMCP:
        """The MCP server inside, for further tools, resources and prompts."""
        return self._mcp

    @property
    def s2sp_endpoint(self) -> str:
        """Base URL of the data plane."""
        return self._direct_channel.endpoint_url

    async def start(self) -> None:
        """Connect the data plane."""
        await self._direct_channel.start()

    async def stop(self) -> None:
        """Disconnect the data plane; published bodies stay until they expire."""
        await self._direct_channel.stop()

    def run(self, transport: Any = "stdio", **options: Any) -> None:
        """Serve MCP until the client leaves."""
        self._mcp.run(transport, **options)

    def sd_resource_tool(self, name: str | None = None, description: str | None = None) -> Callable[[F], F]:
        """Register a function that returns rows; it gets `abstract_domains` and `mode`."""

        def register(function: F) -> F:
            tool_name = name or name_of(function)

            async def run(ctx: Any, arguments: dict[str, Any]) -> CallToolResult:
                domains, mode = arguments.pop("abstract_domains"), arguments.pop("mode")
                try:
                    return await self._give(tool_name, await call(function, arguments), domains, mode)
                except BrokerPlaneError as error:
                    raise ToolError(str(error)) from error

            tool = wrapped(function, parameters_of(function), _RESOURCE, CallToolResult, run, framework_for("mcp", ()))
            said = (description or inspect.getdoc(function) or "").strip()
            self._mcp.add_tool(tool, name=tool_name, description=f"{said}\n\n{_TEACH_RESOURCE}".strip())
            return function

        return register

    sd_tool = sd_resource_tool
    s2sp_tool = sd_resource_tool
    s2sp_resource_tool = sd_resource_tool

    def sd_consumer_tool(self, name: str | None = None, description: str | None = None) -> Callable[[F], F]:
        """Register a function that receives the merged rows."""

        def register(function: F) -> F:
            async def run(ctx: Any, arguments: dict[str, Any]) -> Any:
                try:
                    rows = await DirectChannel.resolve(**arguments)
                except (S2SPError, ValueError) as error:
                    raise ToolError(str(error)) from error
                result = function(rows)
                return await result if inspect.isawaitable(result) else result

            tool = wrapped(function, [], _CONSUMER, Any, run, framework_for("mcp", ()))
            said = (description or inspect.getdoc(function) or "").strip()
            text = f"{said}\n\n{_TEACH_CONSUMER}".strip()
            self._mcp.add_tool(tool, name=name or name_of(function), description=text)
            return function

        return register

    s2sp_consumer_tool = sd_consumer_tool

    async def _give(self, tool: str, result: Any, domains: str, mode: str) -> CallToolResult:
        if not domains:
            return _text(result)
        rows = plain_rows(as_rows(list(result) if isinstance(result, (list, tuple)) else [result], 0))
        frame = frame_of(rows, 0)
        columns, shown = list(frame.columns), _fields(domains)
        hidden = [name for name in columns if name not in shown]
        shape: dict[str, Any] = {
            "total_rows": len(rows),
            "columns": columns,
            "abstract_domains": shown,
            "body_domains": hidden,
        }
        abstract = AbstractBuilder([name for name in shown if name in columns], None)
        abstract.add(frame)
        if mode == "sync":
            body = AbstractBuilder(hidden, None)
            body.add(frame)
            return _text(shape | {"abstract": abstract.rows, "body": body.rows})
        plane = await self._direct_channel.plane()
        published = await plane.publish(rows, ttl=self._cache_ttl, uses=1, name=tool)
        self._data_cache.note(published, plane.wiring.url, tool, shape)
        url = data_url(self.s2sp_endpoint, published.grant)
        shape |= {"resource_url": url, "abstract": abstract.rows}
        published = replace(published, resource_url=url)
        made = in_async(shape, published, tool, offered(published))
        return _text(shape, CallToolResult.model_validate(made.to_wire()))

    @asynccontextmanager
    async def _lifespan(self, server: MCPServer[Any]) -> AsyncIterator[None]:
        await self.start()
        try:
            yield
        finally:
            await self.stop()


def _text(value: Any, given: CallToolResult | None = None) -> CallToolResult:
    """One text block, indented as in mcp-sd, with the link and the offer of `given`."""
    text = TextContent(type="text", text=msgspec.json.format(json_bytes(value), indent=2).decode())
    rest = given.content[1:] if given else []
    return CallToolResult(content=[text, *rest], _meta=given.meta if given else None)


def _fields(domains: str) -> list[str]:
    """The names of a comma list or a JSON array; text that is not JSON is read as a comma list, as in mcp-sd."""
    text = domains.strip()
    if text.startswith("["):
        try:
            return [str(name).strip() for name in loads(text)]
        except MALFORMED:
            text = text.strip("[]").replace('"', "").replace("'", "")
    return [name.strip() for name in text.split(",") if name.strip()]
