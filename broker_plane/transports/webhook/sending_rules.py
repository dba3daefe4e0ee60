"""When a message is sent again, and when it is given up. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingRules:
    """The delays between attempts in seconds, and the age in seconds at which a message becomes a dead letter."""

    first_seconds: float = 1.0
    longest_seconds: float = 1800.0
    deadline_seconds: float = 86_400.0
    jitter: float = 0.2
    most_at_once: int = 1024
    """Sessions whose messages one process sends at a time. A callback that answers nothing occupies one connection."""

    def delay_after(self, attempts: int, spread: float) -> float:
        """The delay after the failed attempt number `attempts`, from 1; `spread` is from 0 to 1."""
        delay = min(self.longest_seconds, self.first_seconds * 2.0 ** min(attempts - 1, 32))
        return delay * (1.0 + self.jitter * spread)
