"""A resource tool: the author's function returns rows; the model gets the abstract, and consumers get the body."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio.to_thread
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult

from broker_plane.errors import TabularError
from broker_plane.mcp_server import results
from broker_plane.mcp_server.arguments import DOMAINS, MODE
from broker_plane.mcp_server.capabilities import capabilities_of_call
from broker_plane.mcp_server.plane_holder import PlaneHolder
from broker_plane.mcp_server.progress import Reporter
from broker_plane.mcp_server.signature import Function, call, keyword, name_of, parameters_of, wrapped
from broker_plane.mcp_server.tool_errors import as_tool_errors
from broker_plane.tabular.abstract import check_domains, parse_domains
from broker_plane.tabular.arrow import as_table, is_table, rows_of
from broker_plane.tabular.frame import frame_of
from broker_plane.tabular.json_values import json_bytes
from broker_plane.tabular.plain import plain_rows
from broker_plane.tabular.rows import as_row
from broker_plane.wire.column_names import resolved

if TYPE_CHECKING:
    from broker_plane.runtime.offering import Published

TEACHING = (
    "Set abstract_domains to the FEW columns that you need to choose rows, e.g. 'event,severity': each further one "
    "costs tokens in every row. You get those columns with a _row_id, and a resource_url for everything else. Hand "
    "the rows that you chose (unchanged, as abstract_data) and the resource_url to a consumer tool of any server; to "
    "hand on the whole table, hand on the resource_url alone. Without abstract_domains you get every column."
)
_GATHER_ROWS = 256

Result = Annotated[CallToolResult, results.ResourceResult]


@dataclass(frozen=True, slots=True)
class ResourceOptions:
    """Options of one tool; None takes the setting. `ttl` is in seconds, `abstract_limit` in rows."""

    ttl: int | None = None
    uses: int | Literal["unlimited"] | None = None
    abstract_limit: int | Literal["all"] | None = None


def resource_tool(function: Function, holder: PlaneHolder, options: ResourceOptions, inline_limit: int) -> Function:
    """`function` as an MCP tool with `abstract_domains` and `mode`."""
    tool = ResourceTool(function, holder, options, inline_limit)
    extra = [
        keyword("abstract_domains", DOMAINS, ""),
        keyword("mode", MODE, "async"),
    ]
    return wrapped(function, parameters_of(function), extra, Result, tool.run)


class ResourceTool:
    """Carries out one call: the author's rows become a plain, sync or async result."""

    def __init__(self, function: Function, holder: PlaneHolder, options: ResourceOptions, inline_limit: int) -> None:
        self._function = function
        self._holder = holder
        self._options = options
        self._inline_limit = inline_limit

    async def run(self, ctx: Context, arguments: dict[str, Any]) -> CallToolResult:
        domains, mode = arguments.pop("abstract_domains"), arguments.pop("mode")
        with as_tool_errors(name_of(self._function)):
            wanted = parse_domains(domains)
            data = _as_data(await call(self._function, arguments))
            if isinstance(data, (bytes, bytearray, memoryview, Path)):
                return await self._opaque(ctx, data, wanted, mode)
            if wanted and mode == "async":
                return await self._async(ctx, data, wanted)
            return await self._inline(ctx, data, wanted, mode)

    async def _async(self, ctx: Context, data: Any, wanted: list[str]) -> CallToolResult:
        return await self._table_result(ctx, await self._publish(ctx, data, wanted), wanted)

    async def _summarized(self, ctx: Context, data: Any, wanted: list[str]) -> CallToolResult:
        """The async result of a table that is too large to show: a summary by column in place of the rows."""
        plane = await self._holder.plane()
        async with Reporter(ctx, "published") as reporter:
            published = await results.publish_summarized(
                plane, data, wanted or None, ttl=self._options.ttl, uses=self._options.uses, progress=reporter.report
            )
        return await self._table_result(ctx, published, wanted)

    async def _table_result(self, ctx: Context, published: Published, wanted: list[str]) -> CallToolResult:
        columns = published.body.columns
        shape = results.table_shape(published.body.rows or 0, columns, resolved(wanted, columns), published.abstract)
        return await self._offered(ctx, shape, published)

    async def _inline(self, ctx: Context, data: Any, wanted: list[str], mode: str) -> CallToolResult:
        """A plain or sync result; if text and structured content together exceed the limit, an async one."""
        columns: list[str] = []
        if is_table(data):
            table = as_table(data)
            if table.nbytes > self._inline_limit // 2:
                return await self._summarized(ctx, table, wanted)
            columns, data = table.column_names, rows_of(table)
        rows, rest = await _gather(data, self._inline_limit // 2)
        if rest is not None:
            return await self._summarized(ctx, rest, wanted)
        frame = frame_of(rows, 0)
        if not wanted and mode == "async":
            return results.plain(rows)
        columns = list(frame.columns) or columns
        wanted = resolved(wanted, columns)
        if rows:
            check_domains(wanted, columns)
        return results.split(frame, columns, wanted)

    async def _opaque(self, ctx: Context, data: Any, wanted: list[str], mode: str) -> CallToolResult:
        if wanted or mode == "sync":
            raise TabularError("This tool returns one opaque body: call it without abstract_domains and mode")
        published = await self._publish(ctx, data, [])
        body = published.body
        shape = {"size": body.size, "media_type": body.media_type, "digest": f"sha256:{body.digest}", "name": body.name}
        return await self._offered(ctx, shape, published)

    async def _offered(self, ctx: Context, shape: dict[str, Any], published: Published) -> CallToolResult:
        """The async result, with an offer that the client may confirm or report as impossible."""
        fields = results.offered(published, capabilities_of_call(ctx))
        if fields is not None:
            fields = await self._holder.offers.offer(await self._holder.plane(), published, fields)
        return results.in_async(shape, published, name_of(self._function), fields)

    async def _publish(self, ctx: Context, data: Any, wanted: list[str]) -> Published:
        plane = await self._holder.plane()
        async with Reporter(ctx, "published") as reporter:
            return await plane.publish(
                data,
                abstract="all" if wanted is None else wanted,
                ttl=self._options.ttl,
                uses=self._options.uses,
                abstract_limit=self._options.abstract_limit,
                progress=reporter.report,
            )


def _as_data(result: Any) -> Any:
    """The function's result in a publishable form: a single row or scalar becomes a table of one row."""
    if isinstance(result, (bytes, bytearray, memoryview, Path, list, tuple)) or is_table(result):
        return result
    if isinstance(result, (AsyncIterable, Iterator)):
        return result
    if isinstance(result, Iterable) and not isinstance(result, (str, dict)) and not hasattr(result, "model_dump"):
        return result
    return [result]


async def _gather(data: Any, limit: int) -> tuple[list[dict[str, Any]], Any]:
    """(rows, None) if their JSON stays below `limit` bytes; else (empty, everything that is to be published)."""
    source = aiter(data) if isinstance(data, AsyncIterable) else iter(data)
    rows: list[dict[str, Any]] = []
    size = 2
    while batch := await _take(source, _GATHER_ROWS):
        fresh = plain_rows((as_row(item, len(rows) + place) for place, item in enumerate(batch)), len(rows))
        rows.extend(fresh)
        size += len(json_bytes(fresh))
        if size > limit:
            return [], data if isinstance(data, (list, tuple)) else _put_back(rows, source)
    return rows, None


async def _take(source: Any, count: int) -> list[Any]:
    if isinstance(source, AsyncIterator):
        batch = []
        async for item in source:
            batch.append(item)
            if len(batch) == count:
                break
        return batch
    if inspect.isgenerator(source):
        return await anyio.to_thread.run_sync(lambda: list(islice(source, count)))
    return list(islice(source, count))


def _put_back(rows: list[dict[str, Any]], source: Any) -> Any:
    return _after(rows, source) if isinstance(source, AsyncIterator) else chain(rows, source)


async def _after(rows: list[dict[str, Any]], source: AsyncIterator[Any]) -> AsyncIterator[Any]:
    for row in rows:
        yield row
    async for item in source:
        yield item
