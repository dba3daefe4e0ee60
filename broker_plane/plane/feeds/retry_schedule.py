"""How often a notice is redelivered, and after what delays."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySchedule:
    """Delays in seconds before each redelivery. After the last one has failed the notice is a dead letter."""

    delays: tuple[float, ...] = (1.0, 5.0, 30.0, 120.0, 600.0)
    jitter: float = 0.0
    """Maximum fraction of each delay that is added at random, so that redeliveries do not all come at once."""

    @property
    def max_attempts(self) -> int:
        """The number of deliveries before a notice is given up: one more than there are delays."""
        return len(self.delays) + 1

    def delay_after(self, attempt: int, spread: float = 0.0) -> float:
        """Return the seconds to wait after attempt number `attempt` (from 1) failed.

        Attempts beyond the schedule wait as long as the last one. `spread`, from 0 to 1, is the share of the jitter.
        """
        delay = self.delays[min(attempt, len(self.delays)) - 1] if self.delays else 0.0
        return delay * (1.0 + self.jitter * spread)
