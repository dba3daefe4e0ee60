"""One query in DuckDB: the connection that can reach nothing, the check of the statement, and the result as Arrow."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import duckdb
import orjson
import pyarrow
import pyarrow.compute
import pyarrow.dataset  # DuckDB scans Arrow tables with it
import pyarrow.ipc

from broker_plane.errors import QueryFailedError, QueryRefusedError, TooCostlyError
from broker_plane.query.limits import QueryLimits
from broker_plane.query.statement import columns_needed
from broker_plane.wire.names import ROW_ID

_LEAST_MEMORY = 64 << 20
_BATCH_ROWS = 65_536
_SHOWN_CHARACTERS = 2_000
_AS_TEXT = re.compile(
    r"\b(INTERVAL|BIT|VARIANT|UNION|BIGNUM|VARINT|UUID|GEOMETRY|ENUM|TIME WITH TIME ZONE|TIME_NS|TIMESTAMP_NS)\b"
)
"""Types of DuckDB that bodies do not have: they become texts."""

_CANDIDATES = re.compile(r"\n*Candidate bindings:[^\n]*")
"""A guess at the column that was meant, among those that were loaded: the ones that the statement names."""

_WHOLE = ("HUGEINT", "UHUGEINT", "UBIGINT")
"""Whole numbers that Arrow has as decimals, or that most readers do not have."""


def config_of(limits: QueryLimits) -> dict[str, Any]:
    """The configuration of a connection that reaches no file, no network, no extension and no Python variable."""
    return {
        "enable_external_access": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "allow_unsigned_extensions": "false",
        "python_enable_replacements": "false",
        "python_scan_all_frames": "false",
        "temp_directory": "",
        "threads": str(limits.threads),
        "memory_limit": f"{max(_LEAST_MEMORY, limits.memory_bytes)}B",
    }


@dataclass(frozen=True, slots=True)
class DuckDbQuery:
    """A connection for one query."""

    connection: Any
    reserved: frozenset[str]
    limits: QueryLimits

    @classmethod
    def prepared(cls, limits: QueryLimits) -> DuckDbQuery:
        """A connection that has been used once, so that the first query does not wait for what is loaded then."""
        connection = duckdb.connect(":memory:", config=config_of(limits))
        connection.execute("SET TimeZone = 'UTC'")
        views = connection.execute("SELECT view_name FROM duckdb_views() WHERE internal").fetchall()
        query = cls(connection, frozenset(name for (name,) in views), limits)
        query.needs("SELECT x, count(*) FROM warm GROUP BY x", {"warm": ["x"]})
        connection.register("warm", pyarrow.table({"x": ["a", "b"]}))
        for _ in query.result("SELECT x, count(*) AS n FROM warm GROUP BY x"):
            pass
        connection.unregister("warm")
        return query

    def needs(self, sql: str, tables: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """The columns that `sql` reads, by table. Raises as `columns_needed`, and QueryFailedError."""
        statements = _translated(lambda: self.connection.extract_statements(sql))
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise QueryRefusedError("A query is one SELECT statement, and this is another one, or several")
        ((text,),) = self.connection.execute("SELECT json_serialize_sql($1::VARCHAR)", [sql]).fetchall()
        try:
            tree = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise QueryFailedError("The statement is nested too deeply") from error
        if tree.get("error"):
            raise QueryFailedError(str(tree.get("error_message", "The statement cannot be parsed"))[:_SHOWN_CHARACTERS])
        try:
            return columns_needed(tree, tables, self.reserved)
        except (KeyError, TypeError, AttributeError) as error:
            raise QueryRefusedError("This version of DuckDB writes statements in another way") from error

    def load(self, tables: Mapping[str, Any]) -> None:
        """Make the Arrow tables readable, and lock the configuration."""
        size = sum(table.nbytes for table in tables.values())
        left = max(_LEAST_MEMORY, self.limits.memory_bytes - size)
        for name, table in tables.items():
            _translated(partial(self.connection.register, name, table))
        self.connection.execute(f"SET memory_limit = '{left}B'")
        self.connection.execute("SET lock_configuration = true")

    def result(self, sql: str) -> Any:
        """Yield the result as one Arrow IPC stream, in pieces.

        Raises:
            QueryFailedError, QueryRefusedError, TooCostlyError.
        """
        table = _translated(lambda: self._table(sql))
        sink = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=_BATCH_ROWS)
        yield memoryview(sink.getvalue())

    def _table(self, sql: str) -> Any:
        relation = self.connection.sql(sql)
        if relation is None:
            raise QueryFailedError("The statement has no result")
        kinds = [str(kind) for kind in relation.types]
        names = _distinct(relation.columns)
        if any(map(_AS_TEXT.search, kinds)):
            shown = [f"CAST(#{n} AS VARCHAR)" if _AS_TEXT.search(kind) else f"#{n}" for n, kind in enumerate(kinds, 1)]
            relation = relation.project(", ".join(f"{text} AS c{n}" for n, text in enumerate(shown)))
        batches, reader = [], relation.to_arrow_reader(_BATCH_ROWS)
        rows = size = 0
        for batch in reader:
            rows, size = rows + batch.num_rows, size + batch.nbytes
            self._check_result(rows, size)
            batches.append(batch)
        table = pyarrow.Table.from_batches(batches, reader.schema)
        return _described(table, names, kinds)

    def _check_result(self, rows: int, size: int) -> None:
        if rows > self.limits.result_rows:
            raise TooCostlyError(
                f"The result has more than {self.limits.result_rows} rows; aggregate, filter, or add LIMIT"
            )
        if size > self.limits.result_bytes:
            raise TooCostlyError(
                f"The result has more than {self.limits.result_bytes >> 20} MiB; aggregate, filter, or add LIMIT"
            )


def _translated(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except (MemoryError, duckdb.OutOfMemoryException, pyarrow.ArrowMemoryError) as error:
        raise out_of_memory() from error
    except duckdb.PermissionException as error:
        raise QueryRefusedError(str(error)[:_SHOWN_CHARACTERS]) from error
    except (duckdb.Error, pyarrow.ArrowException, NotImplementedError, ValueError, UnicodeError) as error:
        if "bad_alloc" in str(error) or "Out of Memory" in str(error):
            raise out_of_memory() from error
        raise QueryFailedError(_CANDIDATES.sub("", str(error))[:_SHOWN_CHARACTERS]) from error


def out_of_memory() -> TooCostlyError:
    return TooCostlyError("The query needs more memory than a query may use. Read fewer columns or rows, or aggregate")


def _described(table: Any, names: list[str], kinds: list[str]) -> Any:
    """`table` with these names, whole numbers as such where they fit, and the SQL types as metadata of its fields."""
    columns, fields = [], []
    for place, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        column = _whole(table.column(place)) if kind in _WHOLE else table.column(place)
        columns.append(column)
        fields.append(pyarrow.field(name, column.type, metadata={"sql_type": kind}))
    return pyarrow.table(columns, schema=pyarrow.schema(fields))


def _whole(column: Any) -> Any:
    try:
        return column.cast(pyarrow.int64())
    except pyarrow.ArrowException:  # above 2^63
        return column


def _distinct(names: Sequence[str]) -> list[str]:
    """Names that differ: a body has each column once, and reserves `_row_id`."""
    found: dict[str, None] = {}
    for name in names:
        base = name if name and name != ROW_ID else name.lstrip("_") or "column"
        text, number = base, 0
        while text in found:
            number += 1
            text = f"{base}_{number}"
        found[text] = None
    return list(found)
