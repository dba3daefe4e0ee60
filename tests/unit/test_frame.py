"""Rows out of a frame."""

from __future__ import annotations

import sys

from broker_plane.tabular.frame import frame_of


def test_rows_share_their_table_of_keys() -> None:
    names = [f"column {place}" for place in range(29)]
    (row,) = frame_of([dict.fromkeys(names, 1)], 0).rows()
    assert sys.getsizeof(row) < sys.getsizeof(dict.fromkeys(names, 1)) / 2


def test_a_change_of_one_row_is_not_seen_in_another() -> None:
    first, second = frame_of([{"a": 1, "__class__": 2}, {"a": 3, "__class__": 4}], 0).rows()
    first["a"], first["new"] = 5, 6
    del first["__class__"]
    assert (first, second) == ({"a": 5, "new": 6}, {"a": 3, "__class__": 4})
    assert type(first) is type(second) is dict
