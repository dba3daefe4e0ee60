"""The sample of rows that a preview shows, within the size that the grant and one message allow. Pure."""

from __future__ import annotations

from typing import Any

from broker_plane.errors import ForbiddenError, SelectorError, TooLargeError
from broker_plane.plane.bodies.scope import ScopedBody
from broker_plane.tabular.frame import Frame
from broker_plane.tabular.json_values import json_value
from broker_plane.tabular.pieces import json_pieces
from broker_plane.wire.rows import RowSet

_MOST_BYTES = 4 << 20
"""Maximum size of a preview as JSON: an answer over NATS is one message."""


class SampleRows:
    """Collects rows as JSON values, up to `max_bytes` of JSON text; None: up to what a preview allows."""

    def __init__(self, max_bytes: int | None) -> None:
        self.rows: list[dict[str, Any]] = []
        self._max_bytes = max_bytes
        self._size = 1

    def add(self, frame: Frame) -> None:
        """Add the rows of `frame` with their ids.

        Raises:
            ForbiddenError: the sample is larger than the grant allows.
            TooLargeError: the sample is larger than a preview may be.
        """
        for row in frame.rows(with_ids=True):
            self._size += 1
            for piece in json_pieces(row):
                self._size += len(piece)
                self._check()
            self.rows.append(json_value(row))

    def _check(self) -> None:
        if self._max_bytes is not None and self._size > self._max_bytes:
            raise ForbiddenError(
                f"This sample has more than the {self._max_bytes} bytes that the grant allows; request fewer rows"
            )
        if self._size > _MOST_BYTES:
            raise TooLargeError(
                f"This sample has more than {_MOST_BYTES >> 20} MiB; request fewer rows, or narrow it to fewer columns"
            )


def first_rows(body: ScopedBody, count: int) -> list[int]:
    """The ids of the first `count` visible rows.

    Raises:
        SelectorError: the body is opaque.
    """
    if body.info.kind != "rows":
        raise SelectorError("This body is opaque: it has no rows to preview")
    rows = range(body.info.rows or 0) if body.visible is None else body.visible.first(count)
    return list(rows)[:count] if isinstance(rows, RowSet) else list(rows[:count])
