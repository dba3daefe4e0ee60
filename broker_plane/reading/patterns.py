"""Regular expressions of strangers, in RE2's syntax: matching takes time linear in the text, whatever the pattern.

RE2 has no look-around and no back-references, so no pattern can make it backtrack (docs/decisions/0046). A match never
goes beyond a line: `^` and `$` are the ends of a line.
"""

from __future__ import annotations

from typing import Any

from broker_plane.errors import NotSupportedYetError, WireError

_MOST_MEMORY = 1 << 20
"""For one compiled pattern, in bytes. With 8 MiB, `a{1000}` of any letters takes seconds for each megabyte searched."""

COMPILE_COST = 1 << 20
"""Units of work (fairness/work.py) of making a pattern: up to a tenth of a second."""


class LinePattern:
    """A compiled pattern, for text as UTF-8."""

    def __init__(self, text: str) -> None:
        """Raises WireError if `text` is no pattern of RE2, or too large once compiled."""
        self._search = _compiled(text).search

    def find(self, data: bytes, start: int = 0) -> tuple[int, int] | None:
        """The first match from `start` on, as a half-open range of bytes."""
        found = self._search(data, start)
        return None if found is None else found.span()


def _compiled(text: str) -> Any:
    try:
        import re2
    except ImportError as error:
        raise NotSupportedYetError("grep needs google-re2 beside the bridge: pip install google-re2") from error
    options = re2.Options()
    options.max_mem = _MOST_MEMORY
    options.log_errors = False
    options.never_nl = True
    options.never_capture = True
    try:
        return re2.compile(b"(?m)" + text.encode("utf-8", "replace"), options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        said = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise WireError(
            f"grep is a regular expression in RE2's syntax, without look-around and back-references: {said:.200}"
        ) from error
