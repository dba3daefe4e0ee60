"""A checksum of the rows that arrived, which can be recomputed from the source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

import orjson

_AS_WRITTEN = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE


def rows_checksum(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the SHA-256 (hex) of the rows in order, each as one line of JSON with sorted names and no `_row_id`."""
    digest = sha256()
    for row in rows:
        own = {name: value for name, value in row.items() if name != "_row_id"} if "_row_id" in row else row
        digest.update(orjson.dumps(own, option=_AS_WRITTEN))
    return digest.hexdigest()
