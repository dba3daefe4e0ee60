"""A resource tool: the author's function returns rows; the model gets the abstract, and consumers get the body."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio.to_thread
from pydantic import BeforeValidator, WithJsonSchema

from broker_plane.errors import TabularError
from broker_plane.tabular.abstract import check_domains, parse_domains
from broker_plane.tabular.arrow import as_table, is_table, rows_of
from broker_plane.tabular.frame import frame_of
from broker_plane.tabular.sources import source_of
from broker_plane.tools import results
from broker_plane.tools.arguments import DOMAINS, MODE
from broker_plane.tools.failures import as_tool_errors
from broker_plane.tools.frameworks import Framework, OwnTool, ToolResult
from broker_plane.tools.gathering import gathered
from broker_plane.tools.next_step import sentence_of
from broker_plane.tools.progress import Reporter
from broker_plane.tools.returned import is_bytes, is_rows, is_session, own_function, wire_value
from broker_plane.tools.schema_model import OFFER
from broker_plane.tools.schemas import hidden_members
from broker_plane.tools.signature import Function, call, free_names, keyword, name_of, parameters_of, wrapped
from broker_plane.tools.values import LargeValue, large_value_of, rows_in, weight_of
from broker_plane.wire import slips
from broker_plane.wire.column_names import resolved

if TYPE_CHECKING:
    from broker_plane.runtime.offering import Published
    from broker_plane.runtime.plane import Plane

TEACHING = "abstract_domains: the few columns to show; resource_url has the rest."
Describe = Callable[[Any, "Published"], Awaitable[dict[str, Any] | None]]
"""The descriptor of a body for the client of a call, whose context is the first argument; None for the usual one."""

_UNLIMITED = "unlimited"
_DOMAINS, _MODE, _USES = "abstract_domains", "mode", "uses"


@dataclass(frozen=True, slots=True)
class ResourceOptions:
    """Options of one tool; None takes the setting. `ttl` is in seconds, `abstract_limit` in rows."""

    ttl: int | None = None
    uses: int | Literal["unlimited"] | None = None
    abstract_limit: int | Literal["all"] | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a tool works with: its framework, its plane, and the limit of inline results in bytes."""

    framework: Framework
    connect: Callable[[], Awaitable[Plane]]
    inline_limit: int
    grant_uses: int
    """Uses of a grant if neither the author nor the model says otherwise; 0 is unlimited."""
    describe: Describe | None = None
    invite: Callable[[Any, Any], dict[str, Any]] | None = None
    """The descriptor of a created session for the client of a call; None for the usual one."""
    readers: frozenset[str] = frozenset()
    """The names of the reading tools that the server has."""


def resource_tool(function: Function, around: Surroundings, options: ResourceOptions) -> Function:
    """`function` as a tool of the framework with `abstract_domains`, `mode` and `uses`, each with the prefix `plane_`
    if the function has such a parameter itself.
    """
    parameters = parameters_of(function)
    names = free_names(parameters, (_DOMAINS, _MODE, _USES))
    opaque, own = own_function(function)
    tool = ResourceTool(function, around, options, names, around.framework.own(own))
    extra = [
        keyword(names[_DOMAINS], DOMAINS, ""),
        keyword(names[_MODE], MODE, "async"),
        keyword(names[_USES], _USES_ARGUMENT, tool.uses),
    ]
    returns = tool.own.annotation(OFFER if opaque else None)
    return wrapped(function, parameters, extra, returns, tool.run, around.framework)


@dataclass(frozen=True, slots=True)
class _Call:
    """One call: its context, and what the model asked for."""

    ctx: Any
    wanted: list[str]
    mode: str
    uses: int


class ResourceTool:
    """Carries out one call: the author's rows become a plain, sync or async result."""

    def __init__(
        self, function: Function, around: Surroundings, options: ResourceOptions, names: dict[str, str], own: OwnTool
    ) -> None:
        self.own = own
        self.uses = around.grant_uses if options.uses is None else wire_uses(options.uses)
        self._function = function
        self._around = around
        self._options = options
        self._names = names
        self._hidden = hidden_members(own.schema)
        schema = own.schema or {}
        self._typed = bool(schema.get("properties")) and "x-fastmcp-wrap-result" not in schema

    async def run(self, ctx: Any, arguments: dict[str, Any]) -> Any:
        domains, mode, uses = (arguments.pop(self._names[name]) for name in (_DOMAINS, _MODE, _USES))
        framework = self._around.framework
        with as_tool_errors(name_of(self._function), framework):
            asked = _Call(ctx, parse_domains(domains), mode, self.uses if uses is None else uses)
            data = await call(self._function, arguments, source_of)
            if framework.is_result(data):
                return data
            return framework.result(await self._made(asked, data))

    async def _made(self, asked: _Call, data: Any) -> ToolResult:
        if is_session(data):
            invite = self._around.invite
            return results.of_session(data, invite(asked.ctx, data) if invite else None)
        if is_bytes(data):
            return await self._opaque(asked, data)
        plain = not asked.wanted and asked.mode == "async"
        if plain and not is_rows(data):
            return await self._value(asked, data)
        rows = data if is_rows(data) else await anyio.to_thread.run_sync(rows_in, data)
        if asked.wanted and asked.mode == "async":
            return await self._async(asked, rows)
        return await self._inline(asked, rows)

    async def _async(self, asked: _Call, data: Any) -> ToolResult:
        published = await self._publish(asked, data, abstract=asked.wanted, abstract_limit=self._options.abstract_limit)
        return await self._table_result(asked, published)

    async def _summarized(self, asked: _Call, data: Any) -> ToolResult:
        """The async result of a table that is too large to show: a summary by column in place of the rows."""
        plane = await self._around.connect()
        async with Reporter(asked.ctx, "published") as reporter:
            published = await results.publish_summarized(
                plane, data, asked.wanted or None, progress=reporter.report, **self._terms(asked)
            )
        return await self._table_result(asked, published)

    async def _table_result(self, asked: _Call, published: Published) -> ToolResult:
        columns = published.body.columns
        shown = resolved(asked.wanted, columns)
        shape = results.table_shape(published.body.rows or 0, columns, shown, published.abstract)
        return await self._offered(asked, shape, published)

    async def _inline(self, asked: _Call, data: Any) -> ToolResult:
        """A plain or sync result; if text and structured content together exceed the limit, an async one."""
        columns: list[str] = []
        half = self._around.inline_limit // 2
        if is_table(data):
            table = await anyio.to_thread.run_sync(as_table, data)  # it may run a query first
            if table.nbytes > half:
                return await self._summarized(asked, table)
            columns, data = table.column_names, rows_of(table)
        try:
            gathering = await gathered(data, half)
        except TabularError:
            if asked.wanted or asked.mode == "sync" or not isinstance(data, (list, tuple)):
                raise
            return await self._value(asked, data)  # no table, but the framework may have a form for it
        if gathering.rest is not None:
            return await self._summarized(asked, gathering.rest)
        if not asked.wanted and asked.mode == "async":
            return self._plain(data if isinstance(data, (list, tuple)) else gathering.items)
        frame = frame_of(gathering.rows, 0)
        columns = list(frame.columns) or columns
        shown = resolved(asked.wanted, columns)
        if gathering.rows:
            check_domains(shown, columns)
        return results.split(frame, columns, shown)

    def _plain(self, value: Any) -> ToolResult:
        """What the framework makes of the value; of values that it does not know, it is given the JSON."""
        try:
            return self.own.plain(value)
        except Exception:  # noqa: BLE001  # of pydantic or the framework; the second attempt raises what is wrong
            return self.own.plain(wire_value(value))

    async def _value(self, asked: _Call, value: Any) -> ToolResult:
        """A value that is not a table, as the framework gives it, or published if it is too large."""
        made = self._plain(value)
        if weight_of(made) <= self._around.inline_limit:
            return made
        opaque = large_value_of(value, made)
        return made if opaque is None else await self._opaque(asked, opaque.raw, opaque)

    async def _opaque(self, asked: _Call, data: Any, given: LargeValue | None = None) -> ToolResult:
        if asked.wanted or asked.mode == "sync":
            raise TabularError(
                f"This tool returns one opaque body: call it without {self._names[_DOMAINS]} and {self._names[_MODE]}"
            )
        options = {} if given is None else {"media_type": given.media_type, "name": name_of(self._function)}
        published = await self._publish(asked, data, **options)
        body = published.body
        shape = {"size": body.size, "media_type": body.media_type, "digest": f"sha256:{body.digest}", "name": body.name}
        if given is not None:
            shape["preview"] = given.preview
        return await self._offered(asked, shape, published)

    async def _offered(self, asked: _Call, shape: dict[str, Any], published: Published) -> ToolResult:
        """The async result, with an offer that the client may confirm or report as impossible."""
        describe = self._around.describe
        fields = await describe(asked.ctx, published) if describe else None
        made = results.in_async(
            shape,
            published,
            name_of(self._function),
            fields,
            following=self._next_step(published, asked.uses),
            hidden=self._hidden,
        )
        if not self._typed:
            return made
        # Without this, FastMCP's client would build an empty object of the tool's type.
        return replace(made, meta={**(made.meta or {}), "fastmcp": {"wrap_result": True}})

    def _next_step(self, published: Published, uses: int) -> str:
        return sentence_of(published.body, self._around.readers, uses, self._names[_USES])

    async def _publish(self, asked: _Call, data: Any, **options: Any) -> Published:
        plane = await self._around.connect()
        async with Reporter(asked.ctx, "published") as reporter:
            return await plane.publish(data, progress=reporter.report, **self._terms(asked), **options)

    def _terms(self, asked: _Call) -> dict[str, Any]:
        return {"ttl": self._options.ttl, "uses": asked.uses or _UNLIMITED}


def wire_uses(uses: int | Literal["unlimited"]) -> int:
    """`uses` as a model gives them: 0 is unlimited."""
    return 0 if isinstance(uses, str) else uses


def _uses(value: Any) -> Any:
    if isinstance(value, str) and slips.bare(value).lower() == _UNLIMITED:
        return 0
    return slips.number(value)


_USES_ARGUMENT: Any = Annotated[int | None, BeforeValidator(_uses), WithJsonSchema({"type": "integer"})]
