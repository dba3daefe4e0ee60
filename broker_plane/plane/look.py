"""A look: how many rows a grant shows, which columns, and a few of them. It is for who filters and does not read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from broker_plane.errors import ForbiddenError, WireError
from broker_plane.tabular.json_values import dumps, json_value
from broker_plane.wire.body import BodyInfo

MOST_SAMPLED = 100
"""Rows of one look."""


@dataclass(frozen=True, slots=True)
class Look:
    """`sample` are the first rows, each with its `_row_id`, in the JSON view of tabular/json_values.py."""

    count: int
    columns: list[str]
    sample: list[dict[str, Any]]

    def to_wire(self) -> dict[str, Any]:
        return {"count": self.count, "columns": self.columns, "sample": self.sample}


def looked(info: BodyInfo, rows: list[dict[str, Any]], most_bytes: int | None) -> Look:
    """The look at `info` whose sample is `rows`.

    Raises:
        ForbiddenError: they have more bytes than the grant lets out.
    """
    if most_bytes is not None and len(dumps(rows)) > most_bytes:
        raise ForbiddenError(f"This sample has more than the {most_bytes} bytes that the grant is for; take fewer rows")
    return Look(info.rows or 0, list(info.columns), [json_value(row) for row in rows])


def parse_sample(asked: Any) -> int:
    """The number of rows that a look asks for; 5 where it does not say.

    Raises:
        WireError: it is no number from 0 to 100.
    """
    if asked is None:
        return 5
    if type(asked) is not int or not 0 <= asked <= MOST_SAMPLED:
        raise WireError(f"sample is a whole number from 0 to {MOST_SAMPLED}")
    return asked


def parse_look(fields: Any) -> Look:
    """The look that `to_wire` made.

    Raises:
        WireError: it is none.
    """
    try:
        return Look(int(fields["count"]), [str(name) for name in fields["columns"]], list(fields["sample"]))
    except (KeyError, TypeError, ValueError) as error:
        raise WireError("The answer is no look") from error
