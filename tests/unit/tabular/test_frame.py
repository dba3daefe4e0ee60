"""Rows out of a frame."""

from __future__ import annotations

import sys

from broker_plane.tabular.frame import frame_of


def test_rows_share_their_table_of_keys() -> None:
    names = [f"column {place}" for place in range(29)]
    (row,) = frame_of([dict.fromkeys(names, 1)], 0).rows()
    assert sys.getsizeof(row) < sys.getsizeof(dict.fromkeys(names, 1)) / 2


def test_a_change_of_one_row_is_not_seen_in_another() -> None:
    names = ["a", "b", "c", "d", "e", "f", "__class__"]
    first, second = frame_of([dict.fromkeys(names, 2), dict.fromkeys(names, 4)], 0).rows()
    first["a"], first["new"] = 5, 6
    del first["__class__"]
    assert first == {"a": 5, "b": 2, "c": 2, "d": 2, "e": 2, "f": 2, "new": 6}
    assert second == dict.fromkeys(names, 4)
    assert type(first) is type(second) is dict
