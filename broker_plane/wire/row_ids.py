"""Long lists of `_row_id`s, as requests contain them: parsed, sorted and checked in steps. Pure.

Each step is at most a few milliseconds of C code, because C code holds the interpreter's lock during a call: sorting
900,000 ids at once would block the event loop for a third of a second, from any thread.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, islice
from operator import lt

import msgpack
import msgspec

from broker_plane.errors import SelectorError

FEW = 4096
"""Up to this many ids a list is small: it is a tuple and is handled on the event loop."""

_STEP = 1 << 14
_STEP_BYTES = 1 << 17
_SHORT_JSON = 11_000
"""Fewer numbers than this have up to four digits; all others take at least six bytes, with their comma."""

_SHORT_MSGPACK = 1_000
"""This many numbers take up to two bytes; all others at least three."""

_LIST = msgspec.json.Decoder(list[int])


def ids_of_json(raw: bytes | memoryview, most: int) -> Sequence[int]:
    """The ids of a JSON array.

    Raises:
        SelectorError: it is something else, or has more than `most` ids.
    """
    text = bytes(raw).strip()
    if len(text) <= _STEP_BYTES:
        return _gathered(iter([_decoded(text)]), most)
    if text[:1] != b"[" or text[-1:] != b"]":
        raise no_ids()
    if 6 * (text.count(b",") - _SHORT_JSON) > len(text):
        raise _not_distinct()
    return _gathered(_json_steps(text), most)


def ids_of_msgpack(raw: bytes | memoryview, most: int) -> Sequence[int]:
    """As `ids_of_json`, for a msgpack array."""
    unpacker = msgpack.Unpacker(
        max_buffer_size=0, max_array_len=0, max_map_len=0, max_str_len=0, max_bin_len=0, max_ext_len=0
    )
    unpacker.feed(raw)
    try:
        count = unpacker.read_array_header()
        if count > most:
            raise _too_many(most)
        if 3 * (count - _SHORT_MSGPACK) > len(raw):
            raise _not_distinct()
        return _gathered((list(islice(unpacker, min(_STEP, count - start))) for start in range(0, count, _STEP)), most)
    except (ValueError, msgpack.UnpackException) as error:
        raise no_ids() from error


def in_order(ids: Sequence[int]) -> Sequence[int]:
    """The ids sorted; the same object if they are in order already.

    Raises:
        SelectorError: an id occurs twice.
    """
    if all(_increasing(ids[start : start + _STEP + 1]) for start in range(0, len(ids), _STEP)):
        return ids
    if len(ids) <= _STEP:
        ordered = sorted(ids)
        if not _increasing(ordered):
            raise _twice()
        return ordered
    return _in_buckets(ids)


def _in_buckets(ids: Sequence[int]) -> Sequence[int]:
    """As `in_order`, for many ids: sorted in buckets of about half a step each, however they are distributed."""
    low, high = min(map(min, _steps(ids))), max(map(max, _steps(ids)))
    if high - low < len(ids) - 1:
        raise _twice()
    bits = ((high - low) // (2 * len(ids) // _STEP)).bit_length()
    buckets: defaultdict[int, array[int]] = defaultdict(partial(array, "q"))
    for step in _steps(ids):
        for row_id in step:
            buckets[(row_id - low) >> bits].append(row_id)
    found = array("q")
    for number in sorted(buckets):
        bucket = buckets.pop(number)
        if len(bucket) > 1 << bits:
            raise _twice()
        found.extend(in_order(bucket))
    return found


def _steps(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + _STEP] for start in range(0, len(ids), _STEP))


def no_ids(found: object = None) -> SelectorError:
    return SelectorError("row_ids are whole numbers" + ("" if found is None else "row_ids are whole numbers"))


def _json_steps(text: bytes) -> Iterator[list[int]]:
    """The parts between commas that are some distance apart: in a flat list of numbers, any comma separates two."""
    start, end = 1, len(text) - 1
    while start <= end:
        stop = text.find(b",", min(start + _STEP_BYTES, end), end)
        stop = end if stop < 0 else stop
        part = text[start:stop]
        if not part.strip():
            raise no_ids()
        yield _decoded(b"[" + part + b"]")
        start = stop + 1


def _decoded(text: bytes) -> list[int]:
    try:
        return _LIST.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise no_ids() from error


def _gathered(steps: Iterator[list[int]], most: int) -> Sequence[int]:
    first = next(steps, [])
    _check_types(first)
    if len(first) <= FEW:
        rest = next(steps, None)
        if rest is None:
            return tuple(first)
        steps = chain([rest], steps)
    found = array("q")
    try:
        for step in chain([first], steps):
            _check_types(step)
            found.extend(step)
            if len(found) > most:
                raise _too_many(most)
    except OverflowError as error:
        raise no_ids() from error
    return found


def _check_types(step: list[int]) -> None:
    # type(), because True is an int to isinstance.
    if step and set(map(type, step)) != {int}:
        raise no_ids(next(item for item in step if type(item) is not int))


def _increasing(ids: Sequence[int]) -> bool:
    return all(map(lt, ids, islice(ids, 1, None)))


def _twice() -> SelectorError:
    return SelectorError("row_ids names a row twice")


def _not_distinct() -> SelectorError:
    return SelectorError("row_ids are whole numbers, each named once; this many do not fit into so few bytes")


def _too_many(most: int) -> SelectorError:
    return SelectorError(f"row_ids names more than {most} rows")
