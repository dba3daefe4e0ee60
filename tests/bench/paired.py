"""What paired rounds say about a ratio: its middle, its 95 % interval, and a verdict.

The interval is rank-based: the ratios of the rounds are logarithms here, and the interval is that of the Wilcoxon
signed-rank test (between two Walsh averages, with the exact distribution); the middle is the Hodges-Lehmann estimate,
the median of the Walsh averages. An outlier moves neither by much, and nothing is drawn at random. Fewer than six
rounds have no such interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement
from math import exp, log
from statistics import median
from typing import Literal

SLOWER_ABOVE = 1.03
CONFIDENCE = 0.95
LEAST_ROUNDS = 6
NARROW = 0.02
"""An interval of this width is settled, wherever it lies."""

Verdict = Literal["slower", "not slower", "noise", "too few rounds"]


@dataclass(frozen=True)
class Interval:
    """A ratio with its 95 % interval, which is None if there are too few rounds for one."""

    ratio: float
    bounds: tuple[float, float] | None

    @property
    def verdict(self) -> Verdict:
        """`slower` if the whole interval lies above 1.03, `not slower` if none of it does, `noise` in between."""
        if self.bounds is None:
            return "too few rounds"
        low, high = self.bounds
        if low > SLOWER_ABOVE:
            return "slower"
        return "not slower" if high <= SLOWER_ABOVE else "noise"

    @property
    def is_settled(self) -> bool:
        """Further rounds would not change the verdict: the interval is below the limit, or it is narrow."""
        if self.bounds is None:
            return False
        low, high = self.bounds
        return high <= SLOWER_ABOVE or high - low <= NARROW


def interval(now: Sequence[float], ref: Sequence[float]) -> Interval:
    """The ratio of `now` to `ref`, two samples a round; all samples are above zero."""
    ratios = [log(a / b) for a, b in zip(now, ref, strict=True)]
    walsh = sorted((a + b) / 2 for a, b in combinations_with_replacement(ratios, 2))
    rank = _rank(len(ratios))
    bounds = (exp(walsh[rank - 1]), exp(walsh[-rank])) if rank else None
    return Interval(exp(median(walsh)), bounds)


@cache
def _rank(rounds: int) -> int:
    """Which Walsh average, from either end, bounds the interval; 0 if there are too few rounds for one.

    It is the largest k for which the rank sum is below k with a probability of at most half of what may be missed.
    """
    counts = [1]  # of the 2^n ways of giving signs to the ranks, how many have each sum of positive ones
    for rank in range(1, rounds + 1):
        with_it = [0] * rank + counts
        without = counts + [0] * rank
        counts = [a + b for a, b in zip(with_it, without, strict=True)]
    allowed = (1 - CONFIDENCE) / 2 * 2**rounds
    k = below = 0
    while below + counts[k] <= allowed:
        below += counts[k]
        k += 1
    return k
