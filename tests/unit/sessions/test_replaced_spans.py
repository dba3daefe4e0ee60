"""Places that several operations changed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_plane.sessions.replaced_spans import replaced_spans
from broker_plane.sessions.text_ops import apply, replacement


@pytest.mark.parametrize(
    ("edits", "places"),
    [
        ([(0, 2, "x"), (1, 3, "y")], [(0, 2, 0, 1), (2, 4, 1, 2)]),
        ([(2, 4, "x"), (0, 2, "yyy")], [(0, 2, 0, 3), (2, 4, 3, 4)]),
        ([(2, 4, "x"), (2, 2, "y")], [(2, 2, 2, 3), (2, 4, 3, 4)]),
        ([(2, 4, "x"), (3, 3, "y")], [(2, 4, 2, 3), (4, 4, 3, 4)]),
        ([(2, 4, ""), (2, 2, "y")], [(2, 4, 2, 3)]),
        ([(2, 4, ""), (1, 3, "y")], [(1, 5, 1, 2)]),
        ([(2, 4, "xyz"), (3, 3, "y")], [(2, 4, 2, 6)]),
        ([(2, 4, "xyz"), (4, 6, "")], [(2, 5, 2, 4)]),
        ([(0, 1, ""), (4, 4, "y"), (1, 1, "z")], [(0, 1, 0, 0), (2, 2, 1, 2), (5, 5, 5, 6)]),
    ],
)
def test_only_edits_that_overlap_are_one_place(edits: list[tuple[int, int, str]], places: Any) -> None:
    text, ops = "abcdefgh", []
    for start, end, new in edits:
        ops.append(replacement(text, start, end, new))
        text = apply(ops[-1], text)
    assert replaced_spans(ops) == places


@settings(deadline=None)
@given(
    st.text("abc", max_size=12), st.lists(st.tuples(st.integers(0, 20), st.integers(0, 4), st.text("xy", max_size=3)))
)
def test_the_rest_of_the_text_is_the_same(before: str, edits: list[tuple[int, int, str]]) -> None:
    text, ops = before, []
    for place, size, new in edits:
        start = min(place, len(text))
        ops.append(replacement(text, start, min(len(text), start + size), new))
        text = apply(ops[-1], text)
    at = now = 0
    for start, end, new_start, new_end in replaced_spans(ops):
        assert at <= start <= end and now <= new_start <= new_end
        assert before[at:start] == text[now:new_start]
        at, now = end, new_end
    assert before[at:] == text[now:]
