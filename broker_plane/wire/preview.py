"""A preview: how many rows and which columns a grant shows, and a few of the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from broker_plane.errors import WireError

MOST_SAMPLED = 100
"""Maximum number of rows of a preview."""


@dataclass(frozen=True, slots=True)
class Preview:
    """`sample` has the first rows, each with its `_row_id`, as in the JSON view."""

    count: int
    columns: list[str]
    sample: list[dict[str, Any]]

    def to_wire(self) -> dict[str, Any]:
        return {"count": self.count, "columns": self.columns, "sample": self.sample}


def parse_sample(asked: Any) -> int:
    """The number of rows that a preview requests; 5 by default.

    Raises:
        WireError: it is not a whole number from 0 to 100.
    """
    if asked is None:
        return 5
    if type(asked) is not int or not 0 <= asked <= MOST_SAMPLED:
        raise WireError(f"sample is a whole number from 0 to {MOST_SAMPLED}")
    return asked


def preview_of(fields: Any) -> Preview:
    """The preview that `to_wire` encoded.

    Raises:
        WireError: the fields are not a preview.
    """
    try:
        return Preview(int(fields["count"]), [str(name) for name in fields["columns"]], list(fields["sample"]))
    except (KeyError, TypeError, ValueError) as error:
        raise WireError("The answer is not a preview") from error
