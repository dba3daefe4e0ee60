"""A consumer tool: the model passes an abstract and a `resource_url`; the author's function gets the merged rows."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_origin

from broker_plane.errors import ConfigError, MergeError, SelectorError
from broker_plane.tabular.arrow import converter, empty_table, from_rows, to_list
from broker_plane.tabular.merge import (
    check_mapping,
    merge,
    parse_abstract,
    parse_mapping,
    remap,
    unchanged,
)
from broker_plane.tools.arguments import ABSTRACT_DATA, BODY_DATA, COLUMN_MAPPING, RESOURCE_URL
from broker_plane.tools.failures import as_tool_errors
from broker_plane.tools.frameworks import Framework
from broker_plane.tools.plane_holder import PlaneHolder
from broker_plane.tools.progress import Reporter
from broker_plane.tools.signature import (
    Function,
    bare_annotation,
    call,
    context_of,
    keyword,
    name_of,
    parameters_of,
    wrapped,
)
from broker_plane.wire.names import ROW_ID

if TYPE_CHECKING:
    from broker_plane.plane.bodies.pull import PulledRows

TEACHING = (
    "Pass resource_url as the resource tool gave it. With abstract_data (the rows that you chose, as JSON, unchanged) "
    "the tool works on those rows with all their columns; without it, on every row. In sync mode pass body_data "
    "instead of resource_url. column_mapping, a JSON object, renames columns."
)
Trust = Literal["source", "agent"]
_ADDED = (
    keyword("abstract_data", ABSTRACT_DATA, ""),
    keyword("resource_url", RESOURCE_URL, ""),
    keyword("body_data", BODY_DATA, ""),
    keyword("column_mapping", COLUMN_MAPPING, ""),
)


@dataclass(frozen=True, slots=True)
class ConsumerArguments:
    """The arguments with which a model passes a table to a consumer tool."""

    abstract_data: str
    resource_url: str
    body_data: str
    column_mapping: str

    def without_filler(self) -> ConsumerArguments:
        """Drop an empty `body_data` beside a `resource_url`, which models add as a filler."""
        filled = self.resource_url and self.body_data.strip() == "[]"
        return replace(self, body_data="") if filled else self


def consumer_tool(function: Function, holder: PlaneHolder, trust: Trust, framework: Framework) -> Function:
    """`function` as an MCP tool: its first parameter receives the body, the others remain parameters of the tool.

    Raises:
        ConfigError: it has no parameter for the body.
    """
    parameters = parameters_of(function)
    context = context_of(parameters, framework)
    own = [parameter for parameter in parameters if parameter.name != context]
    if not own:
        raise ConfigError(
            f"The consumer tool {name_of(function)} needs a parameter for the rows, such as rows: list[dict]"
        )
    body = own[0]
    kept = [parameter for parameter in parameters if parameter is not body]
    tool = ConsumerTool(function, holder, body, trust, framework)
    returns = inspect.signature(function, eval_str=True).return_annotation
    return wrapped(function, kept, _ADDED, returns, tool.run, framework)


class ConsumerTool:
    """Carries out one call: pulls the body, converts it to the annotated type, and calls the function."""

    def __init__(
        self, function: Function, holder: PlaneHolder, body: inspect.Parameter, trust: Trust, framework: Framework
    ) -> None:
        self._function = function
        self._holder = holder
        self._body = body
        self._trust = trust
        self._framework = framework
        self._form = bare_annotation(body.annotation)
        self._as_table = converter(self._form)
        if self._as_table is not None and trust == "agent":
            raise ConfigError(f"{name_of(function)} takes a table, whose values are the source's: leave out trust")

    async def run(self, ctx: Any, arguments: dict[str, Any]) -> Any:
        given = ConsumerArguments(*(arguments.pop(parameter.name) for parameter in _ADDED)).without_filler()
        with as_tool_errors(name_of(self._function), self._framework):
            async with Reporter(ctx, "pulled") as reporter, self._opened(given, reporter.report) as body:
                return await call(self._function, {self._body.name: body, **arguments})

    @asynccontextmanager
    async def _opened(self, given: ConsumerArguments, progress: Callable[..., Any]) -> AsyncIterator[Any]:
        """The body as the annotated type: bytes, a Path, an iterator of rows, or a list."""
        form = get_origin(self._form) or self._form
        if self._as_table is not None:
            yield self._as_table(await self._table(given, progress))
        elif form in (bytes, Path) or (isinstance(form, type) and issubclass(form, AsyncIterable)):
            _only_url(given, name_of(self._function))
            plane = await self._holder.plane()
            if form is bytes:
                pulled = await plane.pull(given.resource_url, progress=progress)
                yield pulled if isinstance(pulled, bytes) else _not_opaque()
            elif form is Path:
                with tempfile.TemporaryDirectory(prefix="broker-plane-") as directory:
                    path = Path(directory) / "body"
                    await plane.pull_to(given.resource_url, path, progress=progress)
                    yield path
            else:
                yield plane.iterate(given.resource_url, progress=progress)
        else:
            rows = await self._rows(given, progress)
            yield _as_form(rows, form)

    async def _table(self, given: ConsumerArguments, progress: Callable[..., Any]) -> Any:
        """As `_rows`, as a pyarrow.Table."""
        abstract = parse_abstract(given.abstract_data) if given.abstract_data.strip() else None
        if given.body_data:
            return from_rows(await self._rows(given, progress))
        _check_one_source(given)
        mapping = parse_mapping(given.column_mapping)
        plane = await self._holder.plane()
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

        return await plane.pull_table(given.resource_url, validate=accept, row_ids=row_ids, progress=progress)

    async def _rows(self, given: ConsumerArguments, progress: Callable[..., Any]) -> list[dict[str, Any]]:
        mapping = parse_mapping(given.column_mapping)
        _check_one_source(given)
        if given.body_data:
            return _renamed(_inline(given), mapping)
        abstract = parse_abstract(given.abstract_data) if given.abstract_data.strip() else None
        if abstract == []:
            return []
        plane = await self._holder.plane()
        row_ids = None if abstract is None else [row[ROW_ID] for row in abstract]

        def accept(got: PulledRows) -> list[dict[str, Any]]:
            if abstract is None:
                return _renamed(got.rows, mapping)
            return _renamed(merge(abstract, got.ids, got.rows, trust=self._trust), mapping)

        rows: list[dict[str, Any]] = await plane.pull(
            given.resource_url, validate=accept, row_ids=row_ids, progress=progress
        )
        return rows


def _as_form(rows: list[dict[str, Any]], form: Any) -> Any:
    """The rows as an iterator or a tuple if the annotation is one of these, else as a list."""
    if isinstance(form, type) and issubclass(form, Iterator):
        return iter(rows)
    return tuple(rows) if form is tuple else rows


def _check_one_source(given: ConsumerArguments) -> None:
    if given.resource_url and given.body_data:
        raise MergeError("Pass resource_url (async) or body_data (sync), not both")
    if not given.resource_url and not given.body_data:
        raise MergeError("Pass the resource_url that the resource tool gave (or body_data, in sync mode)")


def _inline(given: ConsumerArguments) -> list[dict[str, Any]]:
    """The rows of sync mode: abstract and body came through the model, each row with its `_row_id`."""
    body = parse_abstract(given.body_data, "body_data")
    ids = [row[ROW_ID] for row in body]
    rows = [{name: value for name, value in row.items() if name != ROW_ID} for row in body]
    if not given.abstract_data.strip():
        return rows
    return merge(parse_abstract(given.abstract_data), ids, rows, complete=False)


def _check_shown(abstract: list[dict[str, Any]], table: Any) -> None:
    """Raise MergeError unless the abstract's values equal those of the table's rows, row by row."""
    if not unchanged(abstract, lambda name: to_list(table.column(name))):
        shown = [name for name in _columns(abstract) if name in table.column_names]
        merge(abstract, [row[ROW_ID] for row in abstract], to_list(table.select(shown)))


def _renamed(rows: list[dict[str, Any]], mapping: dict[str, str]) -> list[dict[str, Any]]:
    if not mapping:
        return rows
    check_mapping(mapping, _columns(rows))
    return remap(rows, mapping)


def _columns(rows: Iterable[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(chain.from_iterable(rows)))


def _only_url(given: ConsumerArguments, tool: str) -> None:
    if not given.resource_url:
        raise MergeError(f"{tool} takes a whole body: pass its resource_url")
    if given.abstract_data.strip() or given.body_data.strip() or given.column_mapping.strip():
        raise MergeError(f"{tool} takes a whole body: pass the resource_url alone")


def _not_opaque() -> bytes:
    raise SelectorError("This body has rows, and the tool takes an opaque one")
