"""Decide when a supervisor may stop: no process was attached for some time, and nothing is stored."""

from __future__ import annotations

import json
from collections.abc import Callable

from broker_plane.files.locks import FileLock

ANSWER_SECONDS = 1.0
FINEST_INTERVAL_SECONDS = 0.25


class IdleWatch:
    """Remembers when a process was last seen attached."""

    def __init__(self, attached: FileLock, *, seconds: float, now: float) -> None:
        self._attached = attached
        self._seconds = seconds
        self._last_use = now
        self._next_check = now
        self.interval = max(seconds / 60, FINEST_INTERVAL_SECONDS)
        """Seconds between two checks; attachments in between go unnoticed."""

    def is_over(self, now: float, is_empty: Callable[[], bool]) -> bool:
        """True if the idle time is over; the attached lock is then kept, so that new processes start a new broker."""
        # Each log line of a child wakes the caller, and this check may make the bridge log a line.
        if now < self._next_check:
            return False
        self._next_check = now + self.interval
        if not self._attached.try_exclusive():
            self._last_use = now
            return False
        self._attached.release()
        if now - self._last_use < self._seconds or not is_empty():
            return False
        # Check again under the lock: a process may have attached, published and left in between.
        if self._attached.try_exclusive() and is_empty():
            return True
        self._attached.release()
        return False


def stores_nothing(bridge_url: str) -> bool:
    """True if the bridge reports that no byte is stored. No answer counts as no."""
    # Imported late: it takes a fifth of the start time, and is needed minutes later or never.
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection(bridge_url.removeprefix("http://"), timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return response.status == 200 and isinstance(answer, dict) and answer.get("stored_bytes") == 0
