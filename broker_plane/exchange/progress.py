"""Progress that increases (MCP, "Progress"): after a takeover it begins anew, and what was said is not said again.
Pure.
"""

from __future__ import annotations

from broker_plane.exchange.lines import Outline


class ProgressFilter:
    """Tells which messages of an exchange are news."""

    def __init__(self) -> None:
        self._most: float | None = None

    def is_news(self, message: Outline) -> bool:
        """Whether to say this message: any other than progress that does not exceed what was said."""
        progress = message.progress
        if progress is None:
            return True
        if self._most is not None and not progress > self._most:
            return False
        self._most = progress
        return True
