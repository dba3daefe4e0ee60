"""The rows of a body that is a text, for a consumer that takes rows."""

from __future__ import annotations

from broker_plane.plane.bodies.pull import PulledRows
from broker_plane.shapes.recognise import recognise_text
from broker_plane.shapes.table import Table


def rows_in_text(raw: bytes, media_type: str) -> PulledRows | None:
    """The rows of a text that is a table, such as CSV; None for other bodies. It may take seconds."""
    kind = media_type.partition(";")[0].strip().lower()
    if not (kind.startswith("text/") or kind.endswith("json")):
        return None
    try:
        found = recognise_text(raw.decode(), media_type=media_type)
    except UnicodeDecodeError:
        return None
    return PulledRows(list(range(len(found.rows))), found.rows) if isinstance(found, Table) else None
