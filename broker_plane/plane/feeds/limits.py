"""How many durables the holders of grants may have. A durable costs the broker memory for as long as it is there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from broker_plane.errors import DurableLimitError

_DAY = 86_400.0
_LEAST_SECONDS = 60.0
_RETRY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Payer:
    """On whose account a durable is: the root grant's id, which narrowed grants share, and the feed's owner."""

    grant: str
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableLimits:
    """Counted are durables that were made for holders of grants and for MCP clients; not those of publishers."""

    per_grant: int = 32
    per_owner: int = 500
    in_total: int = 1_000
    idle_seconds: float = 7 * _DAY
    """A durable ends when nobody asked there for so long, or for as long as its grant had left."""

    def idle(self, seconds_left: float) -> float:
        """After how many seconds of silence a durable ends whose grant ends in `seconds_left`."""
        return max(_LEAST_SECONDS, min(self.idle_seconds, seconds_left))

    def check(self, payer: Payer, durables: Iterable[Payer]) -> None:
        """Raise DurableLimitError unless `payer` may have one more beside `durables`, which is all there are."""
        there = list(durables)
        if sum(each.grant == payer.grant for each in there) >= self.per_grant:
            raise _refusal(
                f"This grant has {self.per_grant} durables already. Go on with one of them, or ask for another grant"
            )
        if sum(each.owner == payer.owner for each in there) >= self.per_owner:
            raise _refusal(
                f"The grants of this publisher have {self.per_owner} durables already. Go on with one of them"
            )
        if len(there) >= self.in_total:
            raise _refusal(f"There are {self.in_total} durables of grants already. Go on with one of them")


def _refusal(sentence: str) -> DurableLimitError:
    return DurableLimitError(f"{sentence}; one that nobody uses ends by itself", retry_after=_RETRY_SECONDS)
