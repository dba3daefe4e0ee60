"""Reads the Arrow stream of an engine: the table of a new body, its columns, and its first rows for the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from broker_plane.errors import QueryFailedError
from broker_plane.tabular import arrow
from broker_plane.tabular.arrow_types import pyarrow_module
from broker_plane.tabular.json_values import json_bytes, json_value
from broker_plane.wire.query import QueryColumn

MOST_ANSWER_BYTES = 256 << 10
"""Size of the rows in an answer, as JSON; the body has the others."""


@dataclass(frozen=True, slots=True)
class EngineResult:
    """A result: `rows` are the first ones, in their JSON view."""

    table: Any
    columns: list[QueryColumn]
    rows: list[dict[str, Any]]

    @property
    def total_rows(self) -> int:
        return int(self.table.num_rows)

    @property
    def size(self) -> int:
        """Bytes as Arrow."""
        return int(self.table.nbytes)


def read_result(raw: bytes, rows: int) -> EngineResult:
    """The result in an Arrow IPC stream, with up to `rows` of its first rows.

    Raises:
        QueryFailedError: the engine wrote no valid stream.
        TabularError: a column has values that a body cannot have.
    """
    pa = pyarrow_module()
    try:
        with pa.ipc.open_stream(pa.py_buffer(raw)) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, EOFError) as error:
        raise QueryFailedError("The engine's result is not an Arrow table", reason=repr(error)[:300]) from error
    columns = [QueryColumn(field.name, _type_of(field)) for field in table.schema]
    bare = table.replace_schema_metadata(None)
    return EngineResult(bare, columns, _first_rows(bare.slice(0, rows)))


def _type_of(field: Any) -> str:
    said = (field.metadata or {}).get(b"sql_type", b"").decode("utf-8", "replace")
    return said[:200] or str(field.type)[:200]


def _first_rows(table: Any) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = []
    size = 0
    for row in arrow.rows_of(table):
        size += len(json_bytes(row))
        if size > MOST_ANSWER_BYTES:
            break
        shown.append(json_value(row))
    return shown
