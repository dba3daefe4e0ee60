"""How long to wait between two attempts: back-off with jitter, which is given from outside. Pure."""

from __future__ import annotations

from dataclasses import dataclass

_MOST_DOUBLINGS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class BackOff:
    """Waits that double from `first_seconds` up to `longest_seconds`."""

    first_seconds: float = 1.0
    longest_seconds: float = 300.0
    jitter: float = 0.2
    """Maximum fraction of a wait that is added, so that retries do not all come at once."""

    def seconds_after(self, attempt: int, spread: float = 0.0) -> float:
        """The wait after attempt number `attempt`, from 1. `spread`, from 0 to 1, is the share of the jitter."""
        doublings = min(max(attempt, 1) - 1, _MOST_DOUBLINGS)
        return min(self.first_seconds * 2.0**doublings, self.longest_seconds) * (1.0 + self.jitter * spread)
