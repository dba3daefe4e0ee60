"""The text formats, and MessagePack, as files: the views of the bridge, with one row on each line of JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from broker_plane.formats.kinds import DELIMITED, Format
from broker_plane.tabular.frame import Frame
from broker_plane.tabular.views import CsvRows, JsonLines, MsgpackRows, SafeCsvRows, SafeTsvRows, TsvRows, View
from broker_plane.wire.body import ROWS_TYPE, BodyInfo
from broker_plane.wire.names import BodyId
from broker_plane.wire.selector import Selector


def text_view(
    form: Format, selector: Selector, *, columns: Sequence[str] = (), rows: int | None = None, csv_safe: bool = False
) -> View:
    """The view for a file. CSV and TSV need all `columns` in advance, MessagePack the number of `rows`.

    With `csv_safe`, spreadsheets run no text in a CSV or TSV as a formula.
    """
    made = _SAFE_VIEWS[form] if csv_safe and form in DELIMITED else _VIEWS[form]
    return made(_body(columns, rows), selector)


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
    Format.tsv: TsvRows,
    Format.msgpack: MsgpackRows,
}
_SAFE_VIEWS: dict[Format, Callable[[BodyInfo, Selector], View]] = {Format.csv: SafeCsvRows, Format.tsv: SafeTsvRows}


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
