"""Decodes groups of rows in the body encoding into one Arrow table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from broker_plane.errors import EncodingError, TabularError, TooCostlyError
from broker_plane.tabular.arrow_types import pyarrow_module
from broker_plane.tabular.chunks import Chunk
from broker_plane.tabular.codec import FrameReader
from broker_plane.tabular.frame import ABSENT
from broker_plane.tabular.json_values import json_bytes, json_value
from broker_plane.tabular.weighing import reading_budget


class DecodedFrames:
    """Collects the frames of one table. Values of several types in one column become JSON texts."""

    def __init__(self, columns: Sequence[str], most_bytes: int) -> None:
        self.columns = list(columns)
        self.rows = 0
        self.size = 0
        self._most_bytes = most_bytes
        self._reader = FrameReader(from_start=False)
        self._parts: dict[str, list[Any]] = {name: [] for name in columns}
        self._texts: set[str] = set()

    def add(self, raw: bytes) -> None:
        """Add whole frames.

        Raises:
            TooCostlyError: the table takes more memory than it may.
            EncodingError: these are not frames.
        """
        for frame in self._reader.feed(raw):
            count = len(frame.ids)
            chunks = {chunk.name: chunk for chunk in frame.chunks}
            for name in self.columns:
                self._add(name, chunks.get(name), count)
            self.rows += count

    def table(self) -> Any:
        """The pyarrow.Table of everything that was added."""
        pa = pyarrow_module()
        columns = {name: self._column(pa, name) for name in self.columns}
        return pa.table(columns)

    def _add(self, name: str, chunk: Chunk | None, count: int) -> None:
        pa = pyarrow_module()
        part = pa.nulls(count) if chunk is None else self._decoded(pa, name, chunk, count)
        self.size += part.nbytes
        if self.size > self._most_bytes:
            raise TooCostlyError(
                f"The columns that this query reads take more than {self._most_bytes >> 20} MiB. Read fewer columns or "
                "rows: name columns instead of *, or narrow the bodies by where"
            )
        self._parts[name].append(part)

    def _decoded(self, pa: Any, name: str, chunk: Chunk, count: int) -> Any:
        # The bridge has verified the digests, and its pipe changes nothing.
        try:
            if name not in self._texts:
                return chunk.array(count, verify=False)
        except EncodingError:
            raise
        except (TabularError, OverflowError, ValueError, TypeError, pa.ArrowException):
            self._texts.add(name)
        return _as_texts(pa, chunk.values(count, verify=False, budget=reading_budget(len(chunk.raw))))

    def _column(self, pa: Any, name: str) -> Any:
        parts = self._parts.pop(name)
        if not parts:
            return pa.nulls(0)
        if name not in self._texts:
            try:
                tables = [pa.table({"": part}) for part in parts]
                column = pa.concat_tables(tables, promote_options="permissive").column(0)
                return _supported(pa, column)
            except pa.ArrowException:
                pass
        return pa.chunked_array([_texts_of(pa, part) for part in parts])


def _as_texts(pa: Any, values: Sequence[Any]) -> Any:
    return pa.array([_text(value) for value in values], pa.string())


def _texts_of(pa: Any, part: Any) -> Any:
    return part if pa.types.is_string(part.type) else _as_texts(pa, part.to_pylist())


def _text(value: Any) -> str | None:
    """A value in a column of texts: JSON, but what JSON has as a text without its quotation marks."""
    if value is None or value is ABSENT:
        return None
    shown = json_value(value)
    return shown if isinstance(shown, str) else json_bytes(value).decode()


def _supported(pa: Any, column: Any) -> Any:
    """`column` in a type that SQL engines have."""
    kind = column.type
    if pa.types.is_float16(kind):
        return column.cast(pa.float32())
    if pa.types.is_decimal256(kind):
        return pa.chunked_array([_as_texts(pa, column.to_pylist())])
    return column
