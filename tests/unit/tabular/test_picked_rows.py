"""Picking rows out of a frame gives what decoding all of it and leaving the others out gives."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.errors import EncodingError
from broker_plane.tabular.chunks import FEW, Chunk, chunk_digest
from broker_plane.tabular.codec import FrameReader, FrameWriter, RawFrame
from broker_plane.tabular.rows import encode_rows
from broker_plane.tabular.types import pack
from broker_plane.wire.selector import WHOLE, Selector

ROWS: list[dict[str, Any]] = [
    {"many": f"text {row}", "few": "abcd"[row % 4], "number": row / 2} | ({"gaps": row} if row % 3 else {})
    for row in range(2_000)
]
RAW = b"".join(encode_rows(ROWS))
PICKED = st.lists(st.integers(0, len(ROWS) - 1), unique=True, max_size=50)


def frames(raw: bytes, piece: int) -> list[RawFrame]:
    reader = FrameReader()
    return [frame for start in range(0, len(raw), piece) for frame in reader.feed(raw[start : start + piece])]


@given(PICKED, st.integers(1, 9_000))
def test_picked_rows_are_those_rows_whatever_the_pieces(picked: list[int], piece: int) -> None:
    selector = Selector(row_ids=tuple(picked))
    found = [row for frame in frames(RAW, max(piece, 500)) for row in frame.decode(selector).rows(with_ids=True)]
    assert found == [{"_row_id": row_id, **ROWS[row_id]} for row_id in sorted(picked)]


@given(st.sets(st.integers(0, 300)), st.integers(0, 200), st.integers(0, 100))
def test_places_of_a_range_are_those_of_the_same_ids_in_a_list(picked: set[int], first: int, count: int) -> None:
    selector = Selector(row_ids=tuple(picked))
    ids = range(first, first + count)
    assert selector.places(ids) == selector.places(list(ids))


def test_a_cut_of_a_cut_holds_the_rows_that_both_leave() -> None:
    first, second = FrameWriter(), FrameWriter()
    once = [frame.cut(Selector(row_ids=tuple(range(0, 2_000, 3))), first) for frame in frames(RAW, 1 << 19)]
    again = [frame.cut(Selector(row_ids=(3, 999)), second) for frame in frames(b"BPR1" + b"".join(once), 700)]
    found = [row for frame in frames(b"BPR1" + b"".join(again), 700) for row in frame.decode(WHOLE).rows(with_ids=True)]
    assert found == [{"_row_id": row_id, **ROWS[row_id]} for row_id in (3, 999)]


@pytest.mark.parametrize("places", [None, [0], [1]])
def test_a_place_beyond_the_distinct_values_is_refused_where_it_is_taken(places: list[int] | None) -> None:
    raw = pack([["a"], b"\x01\x02"])
    with pytest.raises(EncodingError):
        Chunk("few", FEW, chunk_digest(raw), raw).values(2, places)
