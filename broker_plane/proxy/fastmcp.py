"""The proxy's rules as a middleware of FastMCP 4 servers: `server.add_middleware(PlaneMiddleware())`.

Needs the extra `broker-plane[fastmcp]`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from fastmcp.server.middleware import Middleware
from fastmcp.tools.base import ToolResult
from mcp.types import CallToolResult

from broker_plane.config import Settings, load_settings
from broker_plane.proxy.rules import CallRefused, ListTools, PendingRequest, ProxyRules
from broker_plane.proxy.tool_listing import parse_consumer
from broker_plane.tabular.json_values import json_bytes
from broker_plane.tools.plane_holder import PlaneHolder

log = logging.getLogger(__name__)

DEFAULT_THRESHOLD = 64 * 1024


class PlaneMiddleware(Middleware):
    """Publishes results of more than `threshold` bytes, and adds `abstract_domains` and `mode` to tables.

    `consumers` are `TOOL:ARGUMENT`: such an argument may be replaced by a `resource_url`. `tables` are tools that
    return tables without an output schema that says so. The plane is connected at the first large result; `close`
    disconnects it.
    """

    def __init__(
        self,
        *,
        threshold: int = DEFAULT_THRESHOLD,
        consumers: Iterable[str] = (),
        tables: Iterable[str] = (),
        settings: Settings | None = None,
    ) -> None:
        self._holder = PlaneHolder(settings or load_settings())
        self._rules = ProxyRules(
            self._holder.plane, threshold, {item.tool: item for item in map(parse_consumer, consumers)}
        )
        self._rules.tools.declare(tables)

    async def close(self) -> None:
        await self._holder.close()

    async def on_list_tools(self, context: Any, call_next: Any) -> Sequence[Any]:
        tools = await call_next(context)
        seen = [self._listed(tool) for tool in tools]
        self._rules.warn_unmet(tool.name for tool in tools)
        return seen

    async def on_call_tool(self, context: Any, call_next: Any) -> Any:
        message = _request(context.message.name, context.message.arguments)
        pending = self._rules.pending(message)
        if self._rules.may_rewrite(message):
            try:
                changed = await self._rules.rewritten_request(message, self._tool_lister(context))
            except CallRefused as refused:
                return _result(refused.answer["result"])
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
