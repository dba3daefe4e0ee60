"""A consumer tool: the model hands on an abstract and a `resource_url`; the author's function gets the merged rows."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_origin

from mcp.server.mcpserver import Context

from broker_plane.errors import ConfigError, MergeError, SelectorError
from broker_plane.mcp_server.arguments import ABSTRACT_DATA, BODY_DATA, COLUMN_MAPPING, RESOURCE_URL
from broker_plane.mcp_server.plane_holder import PlaneHold
from broker_plane.mcp_server.progress import Reporter
from broker_plane.mcp_server.signature import (
    Function,
    bare_annotation,
    call,
    context_of,
    keyword,
    name_of,
    parameters_of,
    wrapped,
)
from broker_plane.mcp_server.tool_errors import told
from broker_plane.tabular.arrow import converter, empty_table, from_rows, to_list
from broker_plane.tabular.merge import (
    check_mapping,
    merge,
    parse_abstract,
    parse_mapping,
    remap,
    unchanged,
)
from broker_plane.wire.names import ROW_ID

if TYPE_CHECKING:
    from broker_plane.runtime.pulls import PulledBody

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
class Handed:
    """What a model handed to a consumer tool."""

    abstract_data: str
    resource_url: str
    body_data: str
    column_mapping: str

    def without_filler(self) -> Handed:
        """An empty `body_data` beside a `resource_url` says nothing."""
        filled = self.resource_url and self.body_data.strip() == "[]"
        return replace(self, body_data="") if filled else self


def consumer_tool(function: Function, hold: PlaneHold, trust: Trust) -> Function:
    """`function` as an MCP tool: its first parameter is the body, the others stay parameters of the tool.

    Raises:
        ConfigError: it has no parameter for the body.
    """
    parameters = parameters_of(function)
    context = context_of(parameters)
    own = [parameter for parameter in parameters if parameter.name != context]
    if not own:
        raise ConfigError(
            f"The consumer tool {name_of(function)} needs a parameter for the rows, such as rows: list[dict]"
        )
    body = own[0]
    kept = [parameter for parameter in parameters if parameter is not body]
    tool = ConsumerTool(function, hold, body, trust)
    returns = inspect.signature(function, eval_str=True).return_annotation
    return wrapped(function, kept, _ADDED, returns, tool.run)


class ConsumerTool:
    """The way of one call: what was handed on → the body in the form that the function asks for → the function."""

    def __init__(self, function: Function, hold: PlaneHold, body: inspect.Parameter, trust: Trust) -> None:
        self._function = function
        self._hold = hold
        self._body = body
        self._trust = trust
        self._form = bare_annotation(body.annotation)
        self._as_table = converter(self._form)
        if self._as_table is not None and trust == "agent":
            raise ConfigError(f"{name_of(function)} takes a table, whose values are the source's: leave trust as it is")

    async def run(self, ctx: Context, arguments: dict[str, Any]) -> Any:
        handed = Handed(*(arguments.pop(parameter.name) for parameter in _ADDED)).without_filler()
        with told(name_of(self._function)):
            async with Reporter(ctx, "pulled") as reporter, self._opened(handed, reporter.tell) as body:
                return await call(self._function, {self._body.name: body, **arguments})

    @asynccontextmanager
    async def _opened(self, handed: Handed, progress: Callable[..., Any]) -> AsyncIterator[Any]:
        """The body as the function's annotation asks for it: bytes, a Path, an iterator of rows, or a list."""
        form = get_origin(self._form) or self._form
        if self._as_table is not None:
            yield self._as_table(await self._table(handed, progress))
        elif form in (bytes, Path) or (isinstance(form, type) and issubclass(form, AsyncIterable)):
            _only_url(handed, name_of(self._function))
            plane = await self._hold.plane()
            if form is bytes:
                pulled = await plane.pull(handed.resource_url, progress=progress)
                yield pulled if isinstance(pulled, bytes) else _not_opaque()
            elif form is Path:
                with tempfile.TemporaryDirectory(prefix="broker-plane-") as directory:
                    path = Path(directory) / "body"
                    await plane.pull_to(handed.resource_url, path, progress=progress)
                    yield path
            else:
                yield plane.iterate(handed.resource_url, progress=progress)
        else:
            rows = await self._rows(handed, progress)
            yield _as_form(rows, form)

    async def _table(self, handed: Handed, progress: Callable[..., Any]) -> Any:
        """As `_rows`, as a pyarrow.Table."""
        abstract = parse_abstract(handed.abstract_data) if handed.abstract_data.strip() else None
        if handed.body_data:
            return from_rows(await self._rows(handed, progress))
        _check_handed(handed)
        mapping = parse_mapping(handed.column_mapping)
        plane = await self._hold.plane()
        if abstract == []:  # no use is claimed where no row is asked for
            found = await plane.preview(handed.resource_url, sample=0)
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

        return await plane.pull_table(handed.resource_url, validate=accept, row_ids=row_ids, progress=progress)

    async def _rows(self, handed: Handed, progress: Callable[..., Any]) -> list[dict[str, Any]]:
        mapping = parse_mapping(handed.column_mapping)
        _check_handed(handed)
        if handed.body_data:
            return _renamed(_inline(handed), mapping)
        abstract = parse_abstract(handed.abstract_data) if handed.abstract_data.strip() else None
        if abstract == []:
            return []
        plane = await self._hold.plane()
        row_ids = None if abstract is None else [row[ROW_ID] for row in abstract]

        def accept(got: PulledBody) -> list[dict[str, Any]]:
            if abstract is None:
                return _renamed(got.rows, mapping)
            return _renamed(merge(abstract, got.ids, got.rows, trust=self._trust), mapping)

        rows: list[dict[str, Any]] = await plane.pull(
            handed.resource_url, validate=accept, row_ids=row_ids, progress=progress
        )
        return rows


def _as_form(rows: list[dict[str, Any]], form: Any) -> Any:
    """The rows as the class `form`, where it is one of rows one by one; a list is every other."""
    if isinstance(form, type) and issubclass(form, Iterator):
        return iter(rows)
    return tuple(rows) if form is tuple else rows


def _check_handed(handed: Handed) -> None:
    if handed.resource_url and handed.body_data:
        raise MergeError("Pass resource_url (async) or body_data (sync), not both")
    if not handed.resource_url and not handed.body_data:
        raise MergeError("Pass the resource_url that the resource tool gave (or body_data, in sync mode)")


def _inline(handed: Handed) -> list[dict[str, Any]]:
    """The rows of sync mode: abstract and body came through the model, each with its `_row_id`."""
    body = parse_abstract(handed.body_data, "body_data")
    ids = [row[ROW_ID] for row in body]
    rows = [{name: value for name, value in row.items() if name != ROW_ID} for row in body]
    if not handed.abstract_data.strip():
        return rows
    return merge(parse_abstract(handed.abstract_data), ids, rows, complete=False)


def _check_shown(abstract: list[dict[str, Any]], table: Any) -> None:
    """Raise MergeError unless the abstract's values are those of the table's rows, place by place."""
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


def _only_url(handed: Handed, tool: str) -> None:
    if not handed.resource_url:
        raise MergeError(f"{tool} takes a whole body: pass its resource_url")
    if handed.abstract_data.strip() or handed.body_data.strip() or handed.column_mapping.strip():
        raise MergeError(f"{tool} takes a whole body: pass the resource_url alone")


def _not_opaque() -> bytes:
    raise SelectorError("This body has rows, and the tool takes an opaque one")
