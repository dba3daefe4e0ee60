"""How the parts of a transfer become one body: which encodings can be put together from pages, and how. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

JOINED: Final[Mapping[str, str]] = {
    "json": (
        "Pages of JSON: take the list of rows out of each page, append the rows of all pages to one list in the order "
        "of the pages, and emit one JSON array at the end. Emit nothing else: not the pages themselves, and no totals."
    ),
    "ndjson": (
        "Pages of NDJSON: emit the lines of each page as they are, in the order of the pages. Add a line feed to a "
        "page that does not end with one, and leave out empty lines. The rows of a page are its other lines."
    ),
    "csv": (
        "Pages of CSV: emit the header record of the first page once. If a later page begins with the same record, "
        "leave that record out; if it begins with a header that differs, stop with an error. Every page has to end "
        "with a line break before the next one begins. The rows of a page are its records without the header. A quoted "
        "field may contain line breaks, so count records and not lines."
    ),
}
"""By encoding, how pages of it are joined. Pages of any other encoding cannot be joined."""

WHOLE_PAGES: Final = frozenset({"cursor", "offset", "page", "link"})
"""Ways of pagination in which each page is a document of its own, unlike ranges of the same bytes."""


def joining_text(pagination: str, encoding: str, compression: str) -> str:
    """What a reader has to know besides the descriptions themselves; empty if there is nothing."""
    lines = []
    if pagination in WHOLE_PAGES:
        lines.append(JOINED[encoding])
    if compression not in ("", "none"):
        lines.append(
            f"The body is compressed with {compression}: emit it as it arrives if the descriptor has a `compression`, "
            "because whoever reads the descriptor decompresses it then."
        )
    return "\n\n".join(lines)
