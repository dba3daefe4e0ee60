"""Write received rows in one of the formats, with the same views as the bridge."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from broker_plane.cli.formats import Format
from broker_plane.plane.ports import BodyTarget
from broker_plane.tabular.frame import Frame
from broker_plane.tabular.views import CsvRows, JsonLines, MsgpackRows, SafeCsvRows, View
from broker_plane.wire.body import ROWS_TYPE, BodyInfo
from broker_plane.wire.names import BodyId
from broker_plane.wire.selector import Selector


@dataclass(frozen=True, slots=True)
class Written:
    """The number of rows written, and of values (NaN, infinities) that became null."""

    rows: int
    lost: int


async def write_rows(
    frames: AsyncGenerator[Frame, None],
    form: Format,
    file: BodyTarget,
    selector: Selector,
    *,
    columns: Sequence[str] = (),
    rows: int | None = None,
    csv_safe: bool = False,
) -> Written:
    """Write frames as they arrive. CSV needs all `columns` in advance, MessagePack the number of `rows`.

    With `csv_safe`, spreadsheets run no text in a CSV as a formula.
    """
    made = SafeCsvRows if csv_safe and form is Format.csv else _VIEWS[form]
    view = made(_body(columns, rows), selector)
    file.write(view.begin())
    count = 0
    async with aclosing(frames):
        async for frame in frames:
            for piece in view.pieces(frame):
                file.write(piece)
            count += len(frame)
    file.write(view.end())
    return Written(count, view.lost)


class _JsonArray:
    """A JSON array with one row on each line."""

    media_type = "application/json"

    def __init__(self, body: BodyInfo, selector: Selector) -> None:
        self.lost = 0
        self._lines = JsonLines(body, selector)
        self._between = False

    def begin(self) -> bytes:
        return b"["

    def pieces(self, frame: Frame) -> Iterator[bytes]:
        for piece in self._lines.pieces(frame):
            piece = b"\n" + piece if self._between else piece
            self._between = piece.endswith(b"\n")
            yield (piece[:-1] if self._between else piece).replace(b"\n", b",\n")
        self.lost = self._lines.lost

    def end(self) -> bytes:
        return b"]\n"


_VIEWS: dict[Format, Callable[[BodyInfo, Selector], View]] = {
    Format.json: _JsonArray,
    Format.ndjson: JsonLines,
    Format.csv: CsvRows,
    Format.msgpack: MsgpackRows,
}


def _body(columns: Sequence[str], rows: int | None) -> BodyInfo:
    """A body with what views read of it: its columns and number of rows."""
    about = {"id": BodyId(""), "owner": "", "size": 0, "digest": "", "created": 0, "expires": 0, "chunks": 0}
    return BodyInfo(
        **about,  # type: ignore[arg-type]
        kind="rows",
        media_type=ROWS_TYPE,
        chunk_bytes=1,
        rows=rows,
        columns=tuple(columns),
    )
