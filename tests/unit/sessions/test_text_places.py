"""An operation with many places becomes one with few, and leads to the same text."""

from __future__ import annotations

import random

import pytest

from broker_plane.sessions import text_ops
from broker_plane.sessions.text_differences import from_texts
from broker_plane.sessions.text_places import coarser


def places(op: text_ops.Op) -> int:
    return sum(
        1 for before, each in zip([0, *op], op, strict=False) if not isinstance(each, int) and isinstance(before, int)
    )


@pytest.mark.parametrize("seed", range(40))
def test_the_result_is_the_same_in_at_most_so_many_places(seed: int) -> None:
    chance = random.Random(seed)
    old = "".join(chance.choices("abc 🌊é\n", k=300))
    new = "".join(chance.choice(("", "x", each, each, each, each + "🌴")) for each in old)
    op = from_texts(old, new)
    for most in (1, 2, 7, 10_000):
        coarse = coarser(op, old, most)
        text_ops.check_fits(coarse, old)
        assert text_ops.apply(coarse, old) == new
        assert places(coarse) <= most


def test_an_operation_with_few_places_stays_as_it_is() -> None:
    op: text_ops.Op = [2, "x", 3, {"d": "b"}]
    assert coarser(op, "aaaaabc", 2) == op


def test_the_nearest_places_are_joined() -> None:
    assert coarser([1, "x", 1, "y", 5, "z"], "abcdefghi", 2) == [1, {"d": "b"}, "xby", 5, "z"]
