"""Guesses the media type of a file from its name."""

from __future__ import annotations

import mimetypes

_PACKED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}


def guess_media_type(name: str) -> str:
    """The media type that the extension of `name` stands for; empty if it is unknown.

    A compressed file has the type of its compression: `table.csv.gz` is not `text/csv`.
    """
    kind, packed = mimetypes.guess_type(name.replace(":", "_"))  # with a colon it would be taken for a URL
    return _PACKED.get(packed, "") if packed else kind or ""
