"""Which frames hold the selected rows, and which bytes these are: the arithmetic alone."""

from __future__ import annotations

import pytest

from broker_plane.errors import DigestMismatchError, EncodingError, SelectorError
from broker_plane.plane.bodies.frames import (
    END_BYTES,
    byte_range,
    check_frame,
    check_table,
    consecutive,
    frames_with,
    table_place,
)
from broker_plane.tabular.codec import FrameReader, FrameWriter
from broker_plane.tabular.frame import frame_of
from broker_plane.wire.rows import RowSet, of_ids
from broker_plane.wire.selector import WHOLE, Selector
from tests.unit.memory import Memory

ROWS = [{"a": number} for number in range(10)]
PLANE = Memory(ROWS, frame_rows=3)  # frames of rows 0-2, 3-5, 6-8 and 9
READER = FrameReader()
FRAMES = list(READER.feed(PLANE.bodies.raw))
WRITER = FrameWriter()
WRITER.begin()
for start in range(0, 10, 3):
    WRITER.frame(frame_of(ROWS[start : start + 3], start))
TABLE = WRITER.table


@pytest.mark.parametrize(
    ("row_ids", "visible", "numbers"),
    [
        (None, None, [0, 1, 2, 3]),
        ((0,), None, [0]),
        ((2, 3), None, [0, 1]),
        ((9, 0), None, [0, 3]),
        ((4, 4 + 1), None, [1]),
        ((), None, [0]),  # no rows: the first frame has the columns
        (None, [3, 4], [1]),
        (None, [0, 9], [0, 3]),
        (None, [], [0]),
    ],
)
def test_frames_that_hold_a_selected_row(
    row_ids: tuple[int, ...] | None, visible: list[int] | None, numbers: list[int]
) -> None:
    rows: RowSet | None = None if visible is None else of_ids(visible)
    assert frames_with(TABLE, Selector(row_ids=row_ids), rows) == numbers


@pytest.mark.parametrize(
    ("numbers", "runs"),
    [
        ([], []),
        ([0], [range(1)]),
        ([0, 1, 2], [range(3)]),
        ([0, 2, 3, 7], [range(1), range(2, 4), range(7, 8)]),
    ],
)
def test_neighbours_are_one_read(numbers: list[int], runs: list[range]) -> None:
    assert consecutive(numbers) == runs


def test_the_bytes_of_neighbouring_frames_are_exactly_these_frames() -> None:
    for run in (range(1), range(1, 3), range(3, 4), range(4)):
        start, stop = byte_range(PLANE.body, TABLE, run)
        reader = FrameReader(from_start=False)
        came = list(reader.feed(PLANE.bodies.raw[start:stop]))
        assert [frame.ids for frame in came] == [FRAMES[number].ids for number in run]
    place = table_place(PLANE.body)
    assert byte_range(PLANE.body, TABLE, range(4))[1] == place.offset - END_BYTES


def test_a_frame_is_the_one_of_the_table() -> None:
    columns = {"a"}
    check_frame(TABLE.frames[1], FRAMES[1], 3, columns)
    with pytest.raises(EncodingError):
        check_frame(None, FRAMES[1], 3, columns)
    with pytest.raises(DigestMismatchError):
        check_frame(TABLE.frames[0], FRAMES[1], 3, columns)
    with pytest.raises(EncodingError):
        check_frame(TABLE.frames[1], FRAMES[1], 4, columns)
    with pytest.raises(EncodingError):
        check_frame(TABLE.frames[1], FRAMES[1], 3, set())


def test_table_and_metadata_agree() -> None:
    from msgspec.structs import replace

    check_table(TABLE, PLANE.body)
    check_table(TABLE, replace(PLANE.body, columns=("a", "later")))
    for body in (replace(PLANE.body, rows=9), replace(PLANE.body, columns=("b",))):
        with pytest.raises(EncodingError):
            check_table(TABLE, body)
    with pytest.raises(SelectorError):
        table_place(replace(PLANE.body, table=None))


def test_all_rows_of_all_frames_are_the_whole_body() -> None:
    assert frames_with(TABLE, WHOLE, None) == list(range(len(FRAMES)))
