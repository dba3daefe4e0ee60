"""How many durables holders of grants may have. Each costs the broker memory for as long as it exists."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from broker_plane.errors import DurableLimitError

_DAY = 86_400.0
_LEAST_SECONDS = 60.0
_RETRY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class DurablePayer:
    """The account of a durable: the id of the root grant, which narrowed grants share, and the owner."""

    grant: str
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableLimits:
    """Maximum numbers of durables of grant holders and MCP clients; those of publishers are not counted."""

    per_grant: int = 32
    per_owner: int = 500
    in_total: int = 1_000
    idle_seconds: float = 7 * _DAY
    """A durable is deleted after this many seconds without a request, or sooner if its grant expires sooner."""

    def idle(self, seconds_left: float) -> float:
        """Return the idle time in seconds for a durable whose grant expires in `seconds_left`."""
        return max(_LEAST_SECONDS, min(self.idle_seconds, seconds_left))

    def check(self, payer: DurablePayer, durables: Iterable[DurablePayer]) -> None:
        """Raise DurableLimitError unless `payer` may have one more durable besides all existing `durables`."""
        existing = list(durables)
        if sum(each.grant == payer.grant for each in existing) >= self.per_grant:
            raise _refusal(f"This grant already has {self.per_grant} durables. Reuse one, or request another grant")
        if sum(each.owner == payer.owner for each in existing) >= self.per_owner:
            raise _refusal(f"The grants of this publisher already have {self.per_owner} durables. Reuse one of them")
        if len(existing) >= self.in_total:
            raise _refusal(f"All grants together already have {self.in_total} durables. Reuse one of them")


def _refusal(sentence: str) -> DurableLimitError:
    return DurableLimitError(f"{sentence}; unused durables are deleted automatically", retry_after=_RETRY_SECONDS)
