"""A look: how many rows a grant shows, which columns, and a few of them. It is for who filters and does not read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from broker_plane.errors import WireError

MOST_SAMPLED = 100
"""Rows of one look."""


@dataclass(frozen=True, slots=True)
class Preview:
    """`sample` are the first rows, each with its `_row_id`, as a JSON view has it."""

    count: int
    columns: list[str]
    sample: list[dict[str, Any]]

    def to_wire(self) -> dict[str, Any]:
        return {"count": self.count, "columns": self.columns, "sample": self.sample}


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


def preview_of(fields: Any) -> Preview:
    """The look that `to_wire` made.

    Raises:
        WireError: it is none.
    """
    try:
        return Preview(int(fields["count"]), [str(name) for name in fields["columns"]], list(fields["sample"]))
    except (KeyError, TypeError, ValueError) as error:
        raise WireError("The answer is no look") from error
