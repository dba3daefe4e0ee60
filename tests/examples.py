"""How many examples a property is tried with: profiles of Hypothesis, and counts as multiples of them.

`--hypothesis-profile thorough` tries every property three times as often.
"""

from __future__ import annotations

import hypothesis

QUICK, THOROUGH = "quick", "thorough"


def register() -> None:
    """Make both profiles known, and load the quick one. The option of pytest, which is read later, takes its place."""
    for name, count in ((QUICK, 35), (THOROUGH, 100)):
        hypothesis.settings.register_profile(name, max_examples=count, deadline=None)  # other tests run beside this
    hypothesis.settings.load_profile(QUICK)


def examples(factor: float) -> int:
    """The number of examples of the profile times `factor`, for a property whose examples are small or large."""
    return max(5, round(hypothesis.settings.default.max_examples * factor))  # type: ignore[union-attr]
