"""JSON values within a budget: what a reader of a JSON body gets. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from broker_plane.reading.answers import ReadAnswer
from broker_plane.reading.json_path import JsonPath, Tick
from broker_plane.reading.json_scan import JsonPart, check_json, compact, items, kind_of
from broker_plane.reading.row_ranges import from_number, shown_ranges
from broker_plane.reading.tokens import cut_text
from broker_plane.wire.bounds import MAX_SAFE_INT
from broker_plane.wire.rows import RowSet, of_ranges

MOST_COUNTED = 1_000_000
"""Values that are counted after the last one that fits."""


def json_answer(
    raw: bytes, path: JsonPath, wanted: RowSet | None, most_bytes: int, tick: Tick = lambda: None
) -> ReadAnswer:
    """The values that `path` selects, as many as fit: a single one as it is, several as an array.

    A single array that does not fit, or that `wanted` looks into, is answered by its elements. `wanted` are their
    numbers, from 0 on.

    Raises:
        WireError: the body is not JSON.
    """
    whole = check_json(raw)
    single = next(path.select(whole, tick), None) if path.single else None
    if path.single and (wanted is None or single is None or kind_of(single) != "array"):
        if single is None:
            return ReadAnswer(text="", unit="json", first=0, count=0, total=0)
        text = compact(single, most_bytes)
        if len(text) <= most_bytes or kind_of(single) != "array":
            shown = _cut(text, single, most_bytes)
            return ReadAnswer(text=shown, unit="json", first=0, count=1, total=1, cut=len(text) > most_bytes)
    every = of_ranges([(0, MAX_SAFE_INT)]) if wanted is None else wanted
    found = path.select(whole, tick) if single is None else items(single)
    return _Results(most_bytes).answer(found, every)


class _Results:
    """Collects values as the elements of an array."""

    def __init__(self, most_bytes: int) -> None:
        self._room = most_bytes - 2
        self._texts: list[str] = []
        self._cut = False
        self._first = self._after = 0

    def answer(self, values: Iterator[JsonPart], wanted: RowSet) -> ReadAnswer:
        """The wanted values, and the number of all unless there are very many."""
        full = counted = False
        total = 0
        for number, value in enumerate(values):
            total = number + 1
            if not full and number in wanted:
                full = not self._add(number, value)
            if full and total > MOST_COUNTED:
                break
        else:
            counted = True
        left = from_number(wanted, self._after)
        more = bool(left.starts) and left.starts[0] < total
        return ReadAnswer(
            text=f"[{','.join(self._texts)}]",
            unit="json",
            first=self._first,
            count=len(self._texts),
            total=total if counted else None,
            next=f"rows={shown_ranges(left)}" if full and more else None,
            cut=self._cut,
        )

    def _add(self, number: int, value: JsonPart) -> bool:
        """Whether it fits; the first value is kept in any case."""
        text = compact(value, self._room)
        if len(text) + 1 > self._room and self._texts:
            return False
        shown = _cut(text, value, max(0, self._room))
        self._cut = self._cut or len(text) > self._room
        self._first = self._first if self._texts else number
        self._texts.append(shown)
        self._room -= len(text) + 1
        self._after = number + 1
        return True


def _cut(text: bytes, value: JsonPart, most_bytes: int) -> str:
    if len(text) <= most_bytes:
        return text.decode("utf-8", "replace")
    kept = cut_text(text.decode("utf-8", "replace"), most_bytes).rpartition("…[")[0]
    return f"{kept}…[{len(value) - len(kept.encode()):,} more bytes]"
