"""A query over bodies on the wire: SQL and the grants of its tables in, an abstract and a new grant out. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker_plane.errors import WireError
from broker_plane.wire.grant import grant_of

MOST_BODIES = 16
MOST_QUERY_ROWS = 1_000
"""Maximum number of rows of the result in an answer; all of them are in the new body."""

MOST_SQL_CHARACTERS = 48 << 10
_DEFAULT_ROWS = 20
_MOST_USES = 65_535
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}\Z")
_FIELDS = frozenset({"sql", "bodies", "rows", "ttl", "uses"})


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """`bodies` maps the names of tables to grants. `ttl` in seconds; None: the bridge's. `uses` 0: unlimited."""

    sql: str
    bodies: dict[str, str]
    rows: int = _DEFAULT_ROWS
    ttl: int | None = None
    uses: int = 0

    def to_wire(self) -> dict[str, Any]:
        fields: dict[str, Any] = {"sql": self.sql, "bodies": self.bodies, "rows": self.rows}
        fields["uses"] = self.uses or "unlimited"
        return fields | ({} if self.ttl is None else {"ttl": self.ttl})


@dataclass(frozen=True, slots=True)
class QueryColumn:
    """A column of a result. `type` is the SQL type, for people."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """`rows` are the first rows of the result; all `total_rows` are in the body at `resource_url`.

    `expires` is in unix seconds.
    """

    columns: list[QueryColumn]
    total_rows: int
    rows: list[dict[str, Any]]
    resource_url: str
    expires: int

    @property
    def truncated(self) -> bool:
        """Whether the result has more rows than `rows`."""
        return len(self.rows) < self.total_rows

    def to_wire(self) -> dict[str, Any]:
        return {
            "columns": [{"name": column.name, "type": column.type} for column in self.columns],
            "total_rows": self.total_rows,
            "rows": self.rows,
            "truncated": self.truncated,
            "resource_url": self.resource_url,
            "expires": self.expires,
        }


def parse_query(fields: Any) -> QueryRequest:
    """The request that a client sent.

    Raises:
        WireError: it is not one; the message names the member.
    """
    if not isinstance(fields, Mapping) or not isinstance(fields.get("sql"), str):
        raise WireError('A query is {"sql": "SELECT …", "bodies": {"a": resource_url}}')
    if unknown := sorted(set(fields) - _FIELDS):
        raise WireError(f"A query has no member {str(unknown[0])[:40]!r}; there are {', '.join(sorted(_FIELDS))}")
    if not 0 < len(fields["sql"]) <= MOST_SQL_CHARACTERS:
        raise WireError(f"sql has 1 to {MOST_SQL_CHARACTERS} characters")
    return QueryRequest(
        fields["sql"],
        parse_bodies(fields.get("bodies")),
        _whole(fields.get("rows"), "rows", _DEFAULT_ROWS, 0, MOST_QUERY_ROWS),
        None if fields.get("ttl") is None else _whole(fields["ttl"], "ttl", 0, 1, 30 * 86_400),
        0 if fields.get("uses") in (None, "unlimited") else _whole(fields["uses"], "uses", 0, 1, _MOST_USES),
    )


def parse_bodies(found: Any) -> dict[str, str]:
    """The grants of a query by table name, from addresses or grants.

    Raises:
        WireError: there are none or too many, or a name or an address is not one.
    """
    if not isinstance(found, Mapping) or not 0 < len(found) <= MOST_BODIES:
        raise WireError(f'bodies maps 1 to {MOST_BODIES} table names to their resource_url: {{"a": resource_url}}')
    for name in found:
        if not isinstance(name, str) or not _NAME.match(name):
            raise WireError(f"{str(name)[:40]!r} is no table name; use letters, digits and _, such as a or orders")
    if len({name.lower() for name in found}) < len(found):
        raise WireError("Two tables have the same name; SQL does not distinguish upper and lower case")
    for address in found.values():
        if not isinstance(address, str):
            raise WireError("A table is named by its resource_url, which is a text")
    return {name: grant_of(address) for name, address in found.items()}


def answer_of(fields: Any) -> QueryAnswer:
    """The answer that `to_wire` encoded. Raises WireError if it is not one."""
    try:
        columns = [QueryColumn(str(column["name"]), str(column["type"])) for column in fields["columns"]]
        rows = [dict(row) for row in fields["rows"]]
        return QueryAnswer(
            columns, int(fields["total_rows"]), rows, str(fields["resource_url"]), int(fields["expires"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WireError("The answer is not the result of a query") from error


def _whole(found: Any, name: str, default: int, least: int, most: int) -> int:
    if found is None:
        return default
    if type(found) is not int or not least <= found <= most:
        raise WireError(f"{name} is a whole number from {least} to {most}")
    return found
