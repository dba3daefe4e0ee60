"""The proxy's rules as a middleware of FastMCP 4 servers: `server.add_middleware(PlaneMiddleware())`.

Needs the extra `broker-plane[fastmcp]`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from fastmcp.exceptions import ResourceError
from fastmcp.resources import ResourceContent, ResourceResult
from fastmcp.server.middleware import Middleware
from fastmcp.tools.base import Tool, ToolResult
from mcp.types import CallToolResult

from broker_plane.config import Settings, load_settings
from broker_plane.errors import ConfigError
from broker_plane.proxy.messages import mapping
from broker_plane.proxy.options import ProxyOptions
from broker_plane.proxy.own_answers import AnsweredHere
from broker_plane.proxy.pending import PendingRequest
from broker_plane.proxy.rules import ListTools
from broker_plane.tabular.json_values import json_bytes
from broker_plane.tools.plane_holder import PlaneHolder

log = logging.getLogger(__name__)


class PlaneMiddleware(Middleware):
    """Publishes large results, adds `abstract_domains` and `mode` to tables, and lists the reading tools.

    `threshold` is a number of tokens; by default it is what the client itself still shows. `consumers` are
    `TOOL:ARGUMENT`: such an argument may be replaced by a `resource_url`. `shapes` are `TOOL:SHAPE`, what a tool
    returns. The plane is connected at the first large result; `close` disconnects it.
    """

    def __init__(
        self,
        *,
        threshold: int | None = None,
        consumers: Iterable[str] = (),
        shapes: Iterable[str] = (),
        reading_tools: bool = True,
        settings: Settings | None = None,
    ) -> None:
        if threshold is not None and (type(threshold) is not int or threshold < 0):
            raise ConfigError("threshold is a number of tokens")
        settings = settings or load_settings()
        self._holder = PlaneHolder(settings)
        options = ProxyOptions("" if threshold is None else str(threshold), consumers, shapes, reading_tools)
        self._rules = options.rules(self._holder.plane, settings)

    async def close(self) -> None:
        await self._holder.close()

    async def on_list_tools(self, context: Any, call_next: Any) -> Sequence[Any]:
        tools = await call_next(context)
        seen = [self._listed(tool) for tool in tools]
        self._rules.warn_unmet(tool.name for tool in tools)
        return [*seen, *map(_reading_tool, self._rules.own.listed(self._rules.tools.names))]

    async def on_call_tool(self, context: Any, call_next: Any) -> Any:
        message, client = _request(context.message.name, context.message.arguments), _client(context)
        pending = self._rules.pending(message, client=client)
        if self._rules.may_rewrite(message):
            try:
                changed = await self._rules.rewritten_request(message, self._tool_lister(context), client)
            except AnsweredHere as here:
                return _result(here.answer["result"])
            arguments = changed["params"]["arguments"]
            context = context.copy(message=context.message.model_copy(update={"arguments": arguments}))
        result = await call_next(context)
        if type(result) is not ToolResult or pending is None:
            return result  # a question to the client, or a task: there is no result yet
        try:
            return await self._offloaded(pending, result, self._tool_lister(context))
        except Exception as error:  # noqa: BLE001  # no result may be lost
            log.warning("The result of %s could not be processed (%r); it passes unchanged", pending.tool, error)
            return result

    async def on_read_resource(self, context: Any, call_next: Any) -> Any:
        message = {"method": "resources/read", "id": 0, "params": {"uri": str(context.message.uri)}}
        if self._rules.may_rewrite(message):
            try:
                await self._rules.rewritten_request(message, self._tool_lister(context), _client(context))
            except AnsweredHere as here:
                return _resource(here.answer)
        return await call_next(context)

    def _tool_lister(self, context: Any) -> ListTools:
        async def listed(params: dict[str, Any]) -> Any:
            server = context.fastmcp_context.fastmcp
            return {"tools": [_wire(tool) for tool in await server.list_tools(run_middleware=False)]}

        return listed

    async def _offloaded(self, pending: PendingRequest, result: Any, lister: ListTools) -> Any:
        wire = CallToolResult(
            content=result.content,
            structured_content=result.structured_content,
            is_error=result.is_error,
            _meta=result.meta,
        ).model_dump(mode="json", by_alias=True, exclude_none=True)
        answer = {"jsonrpc": "2.0", "id": 0, "result": wire}
        made = await self._rules.answer_for_client(pending, answer, len(json_bytes(wire)), lister)
        return result if made is answer else _result(made["result"])

    def _listed(self, tool: Any) -> Any:
        """As `_seen`; a tool that cannot be processed passes unchanged."""
        try:
            return self._seen(tool)
        except Exception as error:  # noqa: BLE001  # as above
            log.warning("A tool could not be processed (%r); it passes unchanged", error)
            return tool

    def _seen(self, tool: Any) -> Any:
        """FastMCP's own tool with what the proxy adds on the wire."""
        seen = self._rules.tools.listed(_wire(tool))
        changed = {
            "description": seen["description"],
            "parameters": seen["inputSchema"],
            "output_schema": seen["outputSchema"],
        }
        return tool.model_copy(update=changed)


def _client(context: Any) -> str:
    """The name of the client; empty if it is unknown, as outside a request."""
    with suppress(Exception):
        return str(context.fastmcp_context.session.client_params.client_info.name)
    return ""


def _reading_tool(wire: dict[str, Any]) -> Any:
    changed = {"parameters": wire["inputSchema"]} | {k: v for k, v in wire.items() if k != "inputSchema"}
    return Tool.model_validate(changed)


def _wire(tool: Any) -> dict[str, Any]:
    return {
        "name": tool.name,
        "description": tool.description,
        "inputSchema": tool.parameters,
        "outputSchema": tool.output_schema,
    }


def _request(name: str, arguments: dict[str, Any] | None) -> dict[str, Any]:
    return {"method": "tools/call", "id": 0, "params": {"name": name, "arguments": arguments or {}}}


def _result(wire: dict[str, Any]) -> Any:
    parsed = CallToolResult.model_validate(wire, by_name=False)
    return ToolResult(
        content=parsed.content,
        structured_content=parsed.structured_content,
        meta=parsed.meta,
        is_error=bool(parsed.is_error),
    )


def _resource(answer: dict[str, Any]) -> Any:
    """The pages of a body; raises ResourceError for an error."""
    if "error" in answer:
        raise ResourceError(mapping(answer["error"]).get("message"))
    contents = answer["result"]["contents"]
    return ResourceResult([ResourceContent(item["text"], mime_type=item["mimeType"]) for item in contents])
