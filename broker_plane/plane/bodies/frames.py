"""Which frames of a stored rows body hold the selected rows, and where they are in its bytes. Pure."""

from __future__ import annotations

from bisect import bisect_left

from broker_plane.errors import DigestMismatchError, EncodingError, SelectorError
from broker_plane.tabular.chunks import chunk_digest
from broker_plane.tabular.codec import FrameEntry, FrameTable, RawFrame
from broker_plane.wire.body import BodyInfo, TablePlace
from broker_plane.wire.rows import RowSet
from broker_plane.wire.selector import Selector

END_BYTES = 4
"""The size of the end marker between the last frame and the table."""


def table_place(body: BodyInfo) -> TablePlace:
    """Where the frame table of `body` is. Raises SelectorError if the body has no rows."""
    if body.table is None:
        raise SelectorError("This body has no rows; pull it whole")
    return body.table


def check_table(table: FrameTable, body: BodyInfo) -> None:
    """Raise EncodingError unless the frame table and the metadata of `body` agree."""
    # A feed version is shown with the columns that later versions added; they come after its own.
    if table.rows != body.rows or tuple(table.columns) != body.columns[: len(table.columns)]:
        raise EncodingError("The body's frame table and its metadata contradict each other")


def check_frame(entry: FrameEntry | None, frame: RawFrame, first: int, columns: set[str]) -> None:
    """Raise unless the header of `frame` has the digest and the content that the table says.

    `entry` is the frame's line in the table, None if there is none; `first` is its first row id.

    Raises:
        DigestMismatchError: the header is not the one that was stored.
        EncodingError: the header contradicts the table.
    """
    if entry is None:
        raise EncodingError("The body has more groups of rows than its table says")
    if chunk_digest(frame.header) != entry.digest:
        raise DigestMismatchError("A frame of the body is damaged; publish the body again")
    if frame.ids != range(first, first + entry.rows) or not columns.issuperset(chunk.name for chunk in frame.chunks):
        raise EncodingError("A group of rows has other rows or columns than the body's table says")


def frames_with(table: FrameTable, selector: Selector, visible: RowSet | None) -> list[int]:
    """The numbers of the frames that hold a selected row. `selector` was checked: the rows it names are visible.

    If no row is selected, this is the first frame: it has the columns and their types.
    """
    if selector.row_ids is not None:
        numbers = _frames_with_ids(table, selector)
    elif visible is not None:
        numbers = _frames_with_visible(table, visible)
    else:
        numbers = list(range(len(table.frames)))
    return numbers or ([0] if table.frames else [])


def _frames_with_ids(table: FrameTable, selector: Selector) -> list[int]:
    wanted = selector.ordered
    numbers, first, place = [], 0, 0
    for number, entry in enumerate(table.frames):
        if place < len(wanted) and wanted[place] < first + entry.rows:
            numbers.append(number)
        first += entry.rows
        place = bisect_left(wanted, first, lo=place)
    return numbers


def _frames_with_visible(table: FrameTable, visible: RowSet) -> list[int]:
    numbers, first = [], 0
    for number, entry in enumerate(table.frames):
        if visible.overlaps(first, first + entry.rows):
            numbers.append(number)
        first += entry.rows
    return numbers


def consecutive(numbers: list[int]) -> list[range]:
    """`numbers`, which ascend, as ranges without gaps; each is one read."""
    runs: list[range] = []
    for number in numbers:
        if runs and runs[-1].stop == number:
            runs[-1] = range(runs[-1].start, number + 1)
        else:
            runs.append(range(number, number + 1))
    return runs


def byte_range(body: BodyInfo, table: FrameTable, run: range) -> tuple[int, int]:
    """The bytes of the frames of `run` in the stored body, half-open."""
    if run.stop < len(table.frames):
        end = table.frames[run.stop].offset
    else:
        end = (body.table.offset if body.table else body.size) - END_BYTES
    return table.frames[run.start].offset, end
