"""The decorators of PlaneServer: resource tools, consumer tools and task tools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from mcp.server.mcpserver import MCPServer

from broker_plane.config import Settings
from broker_plane.errors import ConfigError
from broker_plane.mcp_server.capabilities import capabilities_of_call
from broker_plane.mcp_server.offers import OfferRegistry
from broker_plane.mcp_server.task_functions import TaskOptions, task_seconds, task_tool, with_task
from broker_plane.tools import consumer as consumers
from broker_plane.tools import resource as resources
from broker_plane.tools import results
from broker_plane.tools.frameworks import Framework
from broker_plane.tools.plane_holder import PlaneHolder
from broker_plane.tools.signature import name_of

if TYPE_CHECKING:
    from broker_plane.runtime.offering import Published

F = TypeVar("F", bound=Callable[..., Any])


class ToolDecorators:
    """Registers functions as tools of `mcp`, which a subclass makes."""

    mcp: MCPServer[Any]

    def __init__(
        self,
        settings: Settings,
        holder: PlaneHolder,
        offers: OfferRegistry,
        framework: Framework,
        readers: frozenset[str],
    ) -> None:
        """`readers` are the names of the reading tools that the server has."""
        self.settings = settings
        self._holder = holder
        self._offers = offers
        self._framework = framework
        self._readers = readers
        self._task_tools: dict[str, TaskOptions] = {}

    @overload
    def resource_tool(self, name: F, /) -> F: ...

    @overload
    def resource_tool(
        self,
        name: str | None = None,
        description: str | None = None,
        *,
        ttl: int | None = None,
        uses: int | Literal["unlimited"] | None = None,
        abstract_limit: int | Literal["all"] | None = None,
        **options: Any,
    ) -> Callable[[F], F]: ...

    def resource_tool(
        self,
        name: Any = None,
        description: str | None = None,
        *,
        ttl: int | None = None,
        uses: int | Literal["unlimited"] | None = None,
        abstract_limit: int | Literal["all"] | None = None,
        **options: Any,
    ) -> Any:
        """Register a function that returns a table (or bytes, or a Path) as a resource tool; the parentheses may be
        left out.

        The tool has three added parameters, `abstract_domains`, `mode` and `uses`
        (docs/reference/wire-protocol.md#results). The function may be plain or async and return rows (dicts, models,
        tuples, scalars), a table, an array, a cursor, an iterator or an async iterator (which is published while it
        runs), bytes or a Path. `ttl` is in seconds, `uses` counts deliveries (or is "unlimited"), `abstract_limit` is
        in rows (or "all"); None is the setting. `options` go to `MCPServer.add_tool`.

        Raises:
            ConfigError: `uses` or `abstract_limit` is 0.
        """
        _check_not_zero(uses, "uses", "unlimited")
        _check_not_zero(abstract_limit, "abstract_limit", "all")
        chosen = resources.ResourceOptions(ttl, uses, abstract_limit)
        around = self._surroundings()

        def register(function: F) -> F:
            tool = resources.resource_tool(function, around, chosen)
            self._add(tool, None if callable(name) else name, description, resources.TEACHING, options)
            return function

        return register(name) if callable(name) else register

    @overload
    def task_tool(self, name: F, /) -> F: ...

    @overload
    def task_tool(
        self,
        name: str | None = None,
        description: str | None = None,
        *,
        ttl: int | None = None,
        wait: float | Literal["never"] | None = None,
        uses: int | Literal["unlimited"] | None = None,
        abstract_limit: int | Literal["all"] | None = None,
        **options: Any,
    ) -> Callable[[F], F]: ...

    def task_tool(
        self,
        name: Any = None,
        description: str | None = None,
        *,
        ttl: int | None = None,
        wait: float | Literal["never"] | None = None,
        uses: int | Literal["unlimited"] | None = None,
        abstract_limit: int | Literal["all"] | None = None,
        **options: Any,
    ) -> Any:
        """Register a function that may take long as a tool whose calls are durable tasks (docs/tasks.md); the
        parentheses may be left out.

        A task survives this process: another one of the same server, by its name, runs the function again. A parameter
        that is annotated as `TaskContext` has its steps, which are not repeated, its questions to the client, and its
        status. The result is that of a `resource_tool`, with the same added parameters, `uses` and `abstract_limit`.

        `ttl` is the lifetime of a task, and of a body that it returns, in seconds; None is the setting. A client that
        does not know tasks waits for the result for `wait` seconds (None: the setting), or with "never" gets an error
        at once.

        Raises:
            ConfigError: `uses`, `abstract_limit` or `ttl` is 0, the function takes a task and is not async, or the role
            is not `plane`.
        """
        _check_not_zero(uses, "uses", "unlimited")
        _check_not_zero(abstract_limit, "abstract_limit", "all")
        if self.settings.role != "plane":
            raise ConfigError(
                f"BROKER_PLANE_ROLE={self.settings.role} cannot store tasks: task tools need the role plane"
            )
        seconds = task_seconds(self.settings.task_ttl_seconds if ttl is None else ttl)
        waits = self.settings.task_wait_seconds if wait is None else wait
        chosen = resources.ResourceOptions(seconds, uses, abstract_limit)
        around = self._surroundings()

        def register(function: F) -> F:
            called = name_of(function) if callable(name) or not name else name
            tool = task_tool(called, resources.resource_tool(with_task(function), around, chosen))
            self._add(tool, called, description, resources.TEACHING, options)
            self._task_tools[called] = TaskOptions(seconds, None if waits == "never" else waits)
            return function

        return register(name) if callable(name) else register

    @overload
    def consumer_tool(self, name: F, /) -> F: ...

    @overload
    def consumer_tool(
        self,
        name: str | None = None,
        description: str | None = None,
        *,
        trust: consumers.Trust = "source",
        bodies: Sequence[str] | None = None,
        **options: Any,
    ) -> Callable[[F], F]: ...

    def consumer_tool(
        self,
        name: Any = None,
        description: str | None = None,
        *,
        trust: consumers.Trust = "source",
        bodies: Sequence[str] | None = None,
        **options: Any,
    ) -> Any:
        """Register a function that takes bodies from other servers as a consumer tool; the parentheses may be left out.

        Its bodies are the parameters that are annotated as tables or lists of objects; without one, the first
        parameter; `bodies` names others. In place of a body the tool has `abstract_data`, `resource_url`, `body_data`
        and `column_mapping`, with the name of the parameter in front of each if there are several bodies.

        The function is called with the merged rows in the annotated type: `list[dict]`, a list of pydantic models,
        dataclasses, typed dicts, named tuples or scalars, a tuple or an (async) iterator of these, a table of pyarrow,
        polars or pandas, bytes or a Path. With `trust="agent"`, values that the agent changed in the abstract replace
        those of the source.

        Raises:
            ConfigError: there is no parameter for a body, or its type cannot be validated.
        """

        def register(function: F) -> F:
            tool = consumers.consumer_tool(function, self._holder, trust, self._framework, bodies)
            self._add(tool, None if callable(name) else name, description, consumers.teaching_of(tool), options)
            return function

        return register(name) if callable(name) else register

    def _surroundings(self) -> resources.Surroundings:
        return resources.Surroundings(
            self._framework,
            self._holder.plane,
            self.settings.max_inline_result_bytes,
            resources.wire_uses(self.settings.grant_uses),
            self._described,
            lambda ctx, created: results.session_offered(created, capabilities_of_call(ctx)),
            self._readers,
        )

    def _add(
        self, tool: Callable[..., Any], name: str | None, text: str | None, teaching: str, options: dict[str, Any]
    ) -> None:
        description = (text or tool.__doc__ or "").strip()
        self.mcp.add_tool(tool, name=name, description=f"{description}\n\n{teaching}".strip(), **options)

    async def _described(self, ctx: Any, published: Published) -> dict[str, Any] | None:
        """The descriptor for the client of a call, sealed so that it may confirm the transfer or report a failure."""
        fields = results.offered(published, capabilities_of_call(ctx))
        return None if fields is None else await self._offers.offer(await self._holder.plane(), published, fields)


def _check_not_zero(value: object, name: str, word: str) -> None:
    if value == 0 and value is not False:
        raise ConfigError(f'{name}=0 is ambiguous: write {name}="{word}", or a number')
