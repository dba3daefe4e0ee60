"""Row sets do what sets do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.errors import SelectorError
from broker_plane.wire.rows import all_rows, of_ids, of_ranges, parse_rows, unpack_rows

ids = st.frozensets(st.integers(0, 60))


@given(ids, ids, st.integers(0, 70), st.integers(0, 61), st.integers(0, 61))
def test_a_row_set_is_the_set_of_its_ids(one: frozenset[int], other: frozenset[int], n: int, a: int, b: int) -> None:
    rows = of_ids(one)
    assert list(rows) == sorted(one)
    assert len(rows) == len(one)
    assert [row for row in range(-1, 62) if row in rows] == sorted(one)
    assert list(rows & of_ids(other)) == sorted(one & other)
    assert list(rows.first(n)) == sorted(one)[:n]
    start, stop = sorted((a, b))
    assert rows.overlaps(start, stop) == any(start <= row < stop for row in one)
    assert rows.places(range(start, stop)) == [row - start for row in range(start, stop) if row in one]
    assert rows.places(sorted(other)) == [place for place, row in enumerate(sorted(other)) if row in one]
    assert unpack_rows(rows.pack()) == rows
    assert parse_rows(str(rows)) == rows
    assert hash(parse_rows(str(rows))) == hash(rows)


def test_ranges_have_both_ends_in_a_text_and_touching_ones_become_one() -> None:
    assert list(parse_rows("5, 0-2,200,3")) == [0, 1, 2, 3, 5, 200]
    assert str(parse_rows("0-99,100,200")) == "0-100,200"
    assert of_ranges([(3, 3), (0, 2)]) == all_rows(2)
    assert list(parse_rows("")) == []


@pytest.mark.parametrize("text", ["x", "1-", "-1", "3-2", "1.5", "1;2", "9" * 16, "١"])  # noqa: RUF001  # no ASCII digit
def test_what_is_no_row_is_named(text: str) -> None:
    with pytest.raises(SelectorError, match="neither"):
        parse_rows(text)


@pytest.mark.parametrize("packed", ["x", [1], [0, 0], [-1, 1], [0, 1, 0, 1], [True, 1], [2**53, 1], [0.0, 1], None])
def test_what_was_not_packed_is_no_set(packed: object) -> None:
    assert unpack_rows(packed) is None
