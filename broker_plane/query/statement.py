"""Checks a statement by DuckDB's own parse tree (`json_serialize_sql`): which tables, functions and columns it names.

Only what is known to be harmless is allowed among table functions; everything that only computes is allowed among the
other functions, except a few that show settings. A column is left out only if no text of the tree is its name, and the
statement has nothing that means "all columns". Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from broker_plane.errors import QueryFailedError, QueryRefusedError

TABLE_FUNCTIONS = frozenset(
    {"range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree", "pg_timezone_names"}
)
"""Table functions that compute, and read nothing."""

REFUSED_FUNCTIONS = frozenset(
    {"current_setting", "getvariable", "getenv", "write_log", "json_serialize_plan", "parse_duckdb_log_message"}
)

_EXPRESSIONS = frozenset(
    {"BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION"}
    | {"LAMBDA", "LAMBDA_REF", "OPERATOR", "SUBQUERY", "TYPE", "WINDOW"}
)
"""Classes of expressions that name each column that they read."""

_TABLES = frozenset({"BASE_TABLE", "EMPTY", "EXPRESSION_LIST", "JOIN", "SUBQUERY", "TABLE_FUNCTION"})
"""Kinds of tables that name each column that they read."""
_OWN_COLUMNS = frozenset({"EXPRESSION_LIST", "SUBQUERY", "TABLE_FUNCTION"})


@dataclass(slots=True)
class _Named:
    """What a statement names; all names without case."""

    texts: set[str] = field(default_factory=set)
    tables: dict[str, str] = field(default_factory=dict)
    aliases: set[str] = field(default_factory=set)
    ctes: set[str] = field(default_factory=set)
    columns: set[str] = field(default_factory=set)
    everything: bool = False
    """Something means all columns, or their places."""


def columns_needed(
    tree: Mapping[str, Any], tables: Mapping[str, Sequence[str]], reserved: Collection[str]
) -> dict[str, list[str]]:
    """The columns that the statement may read of each of its tables. Tables that it does not name are left out.

    `tables` has the columns of each, `reserved` the names of the engine's own views.

    Raises:
        QueryRefusedError: it reads something beyond its tables.
        QueryFailedError: it names a table that is not there.
    """
    named = _Named()
    for node in _nodes(tree, named.texts):
        _look(node, named)
    for cte in named.ctes & {name.casefold() for name in reserved}:
        raise QueryRefusedError(f"The name {cte!r} is reserved; rename that WITH table")
    known = {name.casefold(): name for name in tables}
    for folded, name in named.tables.items():
        if folded not in known and folded not in named.ctes:
            raise QueryFailedError(f"There is no table {name!r} here; there are: {', '.join(tables)}")
    if named.columns & (named.aliases | named.tables.keys() | named.ctes):
        named.everything = True  # a row as a whole
    return {name: _kept(tables[name], named) for folded, name in known.items() if folded in named.tables}


def _kept(columns: Sequence[str], named: _Named) -> list[str]:
    folded = [name.casefold() for name in columns]
    if len(set(folded)) < len(folded):
        for text, name in zip(folded, columns, strict=True):
            if text in named.texts and folded.count(text) > 1:
                raise QueryFailedError(
                    f"The column name {name!r} means several columns, which differ in case alone; SQL cannot name one "
                    "of them. Narrow the body to the one, by columns"
                )
        return list(columns)
    if named.everything:
        return list(columns)
    kept = [name for name, text in zip(columns, folded, strict=True) if text in named.texts]
    return kept or list(columns[:1])  # the number of rows is needed in any case


def _nodes(tree: Any, texts: set[str]) -> Iterator[Mapping[str, Any]]:
    """Every object of the tree; all texts are added to `texts`."""
    waiting = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, str):
            texts.add(value.casefold())


def _look(node: Mapping[str, Any], named: _Named) -> None:
    _check_function(node)
    if "cte_map" in node:
        named.ctes.update(entry["key"].casefold() for entry in node["cte_map"]["map"])
    if "class" in node:
        named.everything |= node["class"] not in _EXPRESSIONS
        if node["class"] == "COLUMN_REF":
            named.columns.add(node["column_names"][-1].casefold())
    elif "sample" in node and "query_location" in node:
        _look_at_table(node, named)
    if node.get("ref_type") == "NATURAL":
        named.everything = True


def _look_at_table(node: Mapping[str, Any], named: _Named) -> None:
    kind = node["type"]
    named.aliases.add(str(node["alias"]).casefold())
    if kind == "BASE_TABLE":
        if node["catalog_name"] or node["schema_name"] or len(node["qualified_name"]["path"]) != 1 or node["at_clause"]:
            raise QueryRefusedError("Name tables without schema and catalog: FROM a, where a is one of `bodies`")
        named.tables[node["table_name"].casefold()] = node["table_name"]
    elif kind == "TABLE_FUNCTION":
        name = str(node["function"].get("function_name"))
        if name.casefold() not in TABLE_FUNCTIONS:
            raise QueryRefusedError(f"The table function {name!r} is not available here; query the tables of `bodies`")
    elif kind == "SHOW_REF" and not node["query"]:
        raise QueryRefusedError("SHOW is not available here; DESCRIBE a and SUMMARIZE a are")
    # FROM a AS t(x, y) names the columns of a table by their places; those of a subquery are its own.
    named.everything |= kind not in _TABLES or bool(node.get("column_name_alias") and kind not in _OWN_COLUMNS)


def _check_function(node: Mapping[str, Any]) -> None:
    name = node.get("function_name")
    if not isinstance(name, str):
        return
    if name.casefold() in REFUSED_FUNCTIONS:
        raise QueryRefusedError(f"The function {name!r} is not available here")
