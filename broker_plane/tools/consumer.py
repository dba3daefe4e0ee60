"""A consumer tool: the model passes a `resource_url`, and the rows it chose; the author's function gets the rows."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from broker_plane.errors import (
    BrokerPlaneError,
    ConfigError,
    GrantExpiredError,
    GrantRefusedError,
    GrantRevokedError,
    GrantUsedError,
    SelectorError,
    TabularError,
)
from broker_plane.tabular.arrow import empty_table, from_rows, to_list
from broker_plane.tabular.merge import check_mapping, merge, remap, unchanged
from broker_plane.tools.body_arguments import BodyParameter, GivenBody, body_parameters
from broker_plane.tools.body_forms import BodyForm, streamed
from broker_plane.tools.failures import as_tool_errors
from broker_plane.tools.frameworks import Framework
from broker_plane.tools.plane_holder import PlaneHolder
from broker_plane.tools.progress import Reporter
from broker_plane.tools.signature import Function, call, context_of, name_of, parameters_of, wrapped
from broker_plane.wire.names import ROW_ID

if TYPE_CHECKING:
    from broker_plane.runtime.plane import Plane
    from broker_plane.runtime.pulls import PulledBody

TEACHING = (
    "Pass resource_url as the resource tool gave it: alone for every row, or with abstract_data, the rows that you "
    "chose, unchanged, as JSON. column_mapping, a JSON object, renames columns. In sync mode pass body_data instead of "
    "resource_url."
)
Trust = Literal["source", "agent"]
Row = dict[str, Any]


def consumer_tool(
    function: Function,
    holder: PlaneHolder,
    trust: Trust,
    framework: Framework,
    bodies: Sequence[str] | None = None,
) -> Function:
    """`function` as an MCP tool: its `bodies` become arguments such as `resource_url`, its other parameters remain.

    Raises:
        ConfigError: it has no parameter for a body.
    """
    parameters = parameters_of(function)
    context = context_of(parameters, framework)
    found = body_parameters([each for each in parameters if each.name != context], name_of(function), bodies)
    kept = [parameter for parameter in parameters if parameter.name not in {body.name for body in found}]
    tool = ConsumerTool(function, holder, found, trust, framework)
    returns = inspect.signature(function, eval_str=True).return_annotation
    added = [argument for body in found for argument in body.arguments()]
    return wrapped(function, kept, added, returns, tool.run, framework)


def teaching_of(tool: Function) -> str:
    """What a model has to know of the arguments of a consumer tool."""
    names = [name for name in inspect.signature(tool).parameters if name.endswith("_resource_url")]
    bodies = [name.removesuffix("_resource_url") for name in names]
    return f"{TEACHING} {' and '.join(bodies)} have these arguments each." if bodies else TEACHING


class ConsumerTool:
    """Carries out one call: pulls the bodies, converts them to the annotated types, and calls the function."""

    def __init__(
        self,
        function: Function,
        holder: PlaneHolder,
        bodies: Sequence[BodyParameter],
        trust: Trust,
        framework: Framework,
    ) -> None:
        self._function = function
        self._holder = holder
        self._bodies = bodies
        self._trust = trust
        self._framework = framework
        if trust == "agent" and any(body.form.kind == "table" for body in bodies):
            raise ConfigError(f"{name_of(function)} takes a table, whose values are the source's: leave out trust")

    async def run(self, ctx: Any, arguments: dict[str, Any]) -> Any:
        given = {body.name: body.given(arguments) for body in self._bodies}
        with as_tool_errors(name_of(self._function), self._framework):
            present = [body for body in self._bodies if not (body.optional and given[body.name].is_missing)]
            for body in present:  # all of them, before the first use is claimed
                self._check(body.form, given[body.name])
            if len(present) > 1:
                await self._check_grants([given[body.name].resource_url for body in present])
            async with Reporter(ctx, "pulled") as reporter, AsyncExitStack() as opened:
                for body in present:
                    value = self._opened(body.form, given[body.name], reporter.report)
                    with _naming(body.name if len(self._bodies) > 1 else ""):
                        arguments[body.name] = await opened.enter_async_context(value)
                return await call(self._function, arguments)

    async def _check_grants(self, urls: Sequence[str]) -> None:
        """Raise the error of a grant that is used up, revoked or expired, before a use of another one is spent."""
        plane = await self._holder.plane()
        for url in filter(None, urls):
            try:
                await plane.preview(url, sample=0)
            except (GrantRefusedError, GrantExpiredError, GrantUsedError, GrantRevokedError):
                raise
            except BrokerPlaneError:
                continue  # it cannot be previewed, and perhaps pulled

    def _check(self, form: BodyForm, given: GivenBody) -> None:
        if form.kind in ("bytes", "path", "stream"):
            given.check_only_url(name_of(self._function))
            return
        given.check_one_source()
        _ = given.abstract, given.mapping

    @asynccontextmanager
    async def _opened(self, form: BodyForm, given: GivenBody, progress: Callable[..., Any]) -> AsyncIterator[Any]:
        """The body in the annotated form."""
        plane = await self._holder.plane()
        if form.table is not None:
            yield form.table(await self._table(plane, given, progress))
        elif form.kind == "bytes":
            pulled = await plane.pull(given.resource_url, progress=progress)
            yield pulled if isinstance(pulled, bytes) else _not_opaque()
        elif form.kind == "path":
            with tempfile.TemporaryDirectory(prefix="broker-plane-") as directory:
                path = Path(directory) / "body"
                await plane.pull_to(given.resource_url, path, progress=progress)
                yield path
        elif form.kind == "stream":
            yield streamed(form, plane.iterate(given.resource_url, progress=progress))
        else:
            yield await self._rows(plane, given, form.make, progress)

    async def _table(self, plane: Plane, given: GivenBody, progress: Callable[..., Any]) -> Any:
        """As `_rows`, as a pyarrow.Table."""
        if given.body_data:
            return from_rows(await self._rows(plane, given, list, progress))
        abstract, mapping = given.abstract, given.mapping
        if abstract == []:  # without rows to pull, no use is claimed
            found = await plane.preview(given.resource_url, sample=0)
            if found.count:
                check_mapping(mapping, found.columns)
                return empty_table([mapping.get(name, name) for name in found.columns])
            abstract = None
        row_ids = None if abstract is None else [row[ROW_ID] for row in abstract]

        def accept(table: Any) -> Any:
            if abstract is not None:
                _check_shown(abstract, table)
            check_mapping(mapping, table.column_names)
            return table.rename_columns([mapping.get(name, name) for name in table.column_names])

        try:
            return await plane.pull_table(given.resource_url, validate=accept, row_ids=row_ids, progress=progress)
        except SelectorError:
            if abstract is not None:
                raise
            columns = await _columns_beside(plane, given.resource_url)
            return await plane.pull_table(given.resource_url, validate=accept, columns=columns, progress=progress)

    async def _rows(
        self, plane: Plane, given: GivenBody, make: Callable[[list[Row]], Any], progress: Callable[..., Any]
    ) -> Any:
        mapping = given.mapping
        if given.body_data:
            return make(_renamed(given.inline_rows(), mapping))
        abstract = given.abstract
        if abstract == []:
            return make([])
        row_ids = None if abstract is None else [row[ROW_ID] for row in abstract]

        def accept(got: PulledBody) -> Any:
            """Raised errors spend no use."""
            if abstract is None:
                return make(_renamed(got.rows, mapping))
            return make(_renamed(merge(abstract, got.ids, got.rows, trust=self._trust), mapping))

        return await plane.pull(given.resource_url, validate=accept, row_ids=row_ids, progress=progress)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Name the body in an error about its rows; without a name, nothing is added."""
    try:
        yield
    except TabularError as error:
        if not name or type(error) is not TabularError:
            raise
        raise TabularError(f"{name}: {error}") from error


async def _columns_beside(plane: Plane, url: str) -> list[str]:
    """The columns of the table that a text is. Raises SelectorError if it is not a table."""
    return (await plane.preview(url, sample=0)).columns


def _check_shown(abstract: list[Row], table: Any) -> None:
    """Raise MergeError unless the abstract's values equal those of the table's rows, row by row."""
    if not unchanged(abstract, lambda name: to_list(table.column(name))):
        shown = [name for name in _columns(abstract) if name in table.column_names]
        merge(abstract, [row[ROW_ID] for row in abstract], to_list(table.select(shown)))


def _renamed(rows: list[Row], mapping: dict[str, str]) -> list[Row]:
    if not mapping:
        return rows
    check_mapping(mapping, _columns(rows))
    return remap(rows, mapping)


def _columns(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(chain.from_iterable(rows)))


def _not_opaque() -> bytes:
    raise SelectorError("This body has rows, and the tool takes an opaque one")
