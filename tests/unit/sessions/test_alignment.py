"""What two sequences have in common, for short ones and for those that difflib would take minutes for."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.sessions import alignment
from broker_plane.sessions.alignment import MOST_PAIRS, Aligned, Effort, align

ITEMS = st.lists(st.integers(0, 4), max_size=12)


def check_cover(old: list[int], new: list[int], blocks: list[Aligned]) -> int:
    """Check that blocks cover both sides, and count the items that are kept."""
    at = new_at = kept = 0
    for block in blocks:
        assert (block.start, block.new_start) == (at, new_at)
        at, new_at = block.end, block.new_end
        if block.equal:
            assert old[block.start : block.end] == new[block.new_start : block.new_end]
            kept += block.end - block.start
    assert (at, new_at) == (len(old), len(new))
    return kept


@given(ITEMS, ITEMS)
def test_blocks_cover_both_sides(old: list[int], new: list[int]) -> None:
    check_cover(old, new, align(old, new, Effort()))


def test_a_long_sequence_keeps_what_is_around_its_changes() -> None:
    chance = random.Random(1)
    old = list(range(20_000))
    new = [item for item in old if item % 100]
    for _ in range(50):
        new.insert(chance.randrange(len(new)), -1)
    assert check_cover(old, new, align(old, new, Effort())) == 19_800


def test_long_sequences_of_repetitions_are_compared_in_bounded_time() -> None:
    chance = random.Random(2)
    old, new = ([chance.randrange(100) for _ in range(60_000)] for _ in range(2))
    assert len(old) * len(new) > MOST_PAIRS
    check_cover(old, new, align(old, new, Effort()))


def test_sequences_of_few_different_items_are_not_compared_for_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """For 900 zeros beside zeros and ones, difflib alone takes 76 million steps."""

    class Unused:
        def __init__(self, *args: object, **more: object) -> None:
            raise AssertionError("difflib is not asked for this")

    monkeypatch.setattr(alignment, "SequenceMatcher", Unused)
    old, new = [0] * 900, [number % 2 for number in range(900)]
    assert sum(block.end - block.start for block in align(old, new, Effort())) == 900
