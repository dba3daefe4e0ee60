"""The supported types of values in msgpack: types that msgpack lacks are extensions, exact in both directions. Pure.

Extension codes, never reused: 1 datetime, 2 date, 3 time (ISO 8601 texts), 4 timedelta (days, seconds, microseconds),
5 Decimal (text), 6 UUID (16 bytes), 7 an int beyond 64 bits (two's complement, big-endian).
"""

from __future__ import annotations

import gc
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cache, partial
from typing import Any
from uuid import UUID

import msgpack
import msgspec

from broker_plane.errors import EncodingError, TabularError
from broker_plane.tabular.keys import MOST_KEYS, check_hashes
from broker_plane.tabular.plain import is_fixed, plain
from broker_plane.wire.bounds import MAX_DECIMAL_BYTES, MAX_INT_BYTES
from broker_plane.wire.nesting import MAX_DEPTH

_REASON = 300
_SCALARS = msgspec.msgpack.Encoder()
_FEW_VALUES = 64
"""Up to this many values are packed first and their nesting is checked afterwards: that is faster."""

_NO_CONTAINERS = bytes(set(range(0x100)) - {*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF})
_SHORT = 64
"""Maximum size of extensions whose values have more or less one size."""


def pack(value: Any) -> bytes:
    """`value` as msgpack.

    Raises:
        TabularError: an unsupported type, or deeper nesting than msgpack's limit.
    """
    try:
        packed: bytes = msgpack.packb(value, default=_extend, strict_types=True)
    except UnicodeEncodeError:  # a lone surrogate; to allow it always would cost a third more
        packed = msgpack.packb(value, default=_extend, strict_types=True, unicode_errors="surrogatepass")
    except (ValueError, RecursionError) as error:
        raise TabularError(f"A value cannot be encoded: {error}") from error
    return packed


def pack_scalars(values: Any) -> bytes:
    """As `pack`, in half the time, for lists and dicts of exactly None, bool, int, float, str and bytes."""
    try:
        return _SCALARS.encode(values)
    except (OverflowError, UnicodeEncodeError):  # an int beyond 64 bits, a lone surrogate
        return pack(values)


class NotPlainError(Exception):
    """A value is not plain (plain.py)."""


def pack_plain(value: Any, around: int = 0, *, flat: bool = False) -> bytes:
    """As `pack`, for a list of values all of which must be plain.

    `around` counts the lists that are not part of the values. `flat`: none of the values is a list or a dict, so that
    nothing can be nested too deeply.

    Raises:
        NotPlainError: a value is not plain, is nested too deeply, or is too large.
    """
    if flat:
        return _packed_plain(value)
    if len(value[-1] if around > 1 else value) <= _FEW_VALUES:
        packed = _packed_plain(value)
        # Each level of nesting has a first byte of its own, so few such bytes cannot be deep.
        if len(packed.translate(None, _NO_CONTAINERS)) - around <= MAX_DEPTH:
            return packed
    return _nested(value, around)


def _packed_plain(value: Any) -> bytes:
    try:
        packed: bytes = msgpack.packb(value, default=_extend_plain, strict_types=True)
    except UnicodeEncodeError:
        packed = msgpack.packb(value, default=_extend_plain, strict_types=True, unicode_errors="surrogatepass")
    except (ValueError, RecursionError, TabularError) as error:
        raise NotPlainError from error
    return packed


def _nested(value: Any, around: int) -> bytes:
    """Pack within so many lists that msgpack's own limit is reached at ours: no walk over the values is needed."""
    spare = max(0, _most_packed() - MAX_DEPTH - around)
    if not spare:
        return _packed_plain(value)
    outermost, innermost = _lists(spare)
    innermost.append(value)
    try:
        return _packed_plain(outermost)[spare:]
    finally:
        innermost.clear()


class _Shells(threading.local):
    def __init__(self) -> None:
        self.by_count: dict[int, tuple[list[Any], list[Any]]] = {}


_SHELLS = _Shells()


def _lists(count: int) -> tuple[list[Any], list[Any]]:
    """`count` nested lists, made once in each thread: the outermost, and the innermost, which is empty."""
    shells = _SHELLS.by_count
    if count not in shells:
        outermost: list[Any] = []
        innermost = outermost
        for _ in range(count - 1):
            outermost = [outermost]
        shells[count] = outermost, innermost
    return shells[count]


@cache
def _most_packed() -> int:
    """The number of nested lists that msgpack packs: it has been 511 and 1024."""
    nested: list[list[Any]] = [[0]]
    for _ in range(2000):
        nested.append([nested[-1]])
    return bisect_left(nested, True, key=_is_refused)  # that many nested lists are packed before the first refusal


def _is_refused(value: Any) -> bool:
    try:
        msgpack.packb(value)
    except ValueError:
        return True
    return False


def unpack(raw: bytes | memoryview) -> Any:
    """The value that `pack` encoded. The caller limits its memory (`weighing.py`).

    Raises:
        EncodingError: the bytes are not msgpack, or contain an extension of a later version.
    """
    try:
        _check_whole(raw)
        try:
            return _unpacked(raw, strict_map_key=True)
        except ValueError:  # a key that is not text, among others
            return _unpacked(raw, strict_map_key=False, object_pairs_hook=_keyed)
    except EncodingError:
        raise
    except Exception as error:  # msgpack documents no common base class of its errors for bad bytes
        raise EncodingError("Stored bytes do not decode", reason=repr(error)[:_REASON]) from error


def _unpacked(raw: bytes | memoryview, **options: Any) -> Any:
    return msgpack.unpackb(raw, ext_hook=_restore, unicode_errors="surrogatepass", **options)


def _check_whole(raw: bytes | memoryview) -> None:
    """Raise if a list or map claims more items than there are: msgpack would allocate room for all of them first."""
    walk = msgpack.Unpacker(max_buffer_size=max(1, len(raw)))
    walk.feed(raw)
    walk.skip()


def _keyed(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """A map with keys of any type."""
    if len(pairs) > MOST_KEYS:
        raise EncodingError(f"A map has more than {MOST_KEYS} keys, and not all of them are texts")
    check_hashes(key for key, _ in pairs)
    return dict(pairs)


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the garbage collector: while many small objects are created it is most of the cost of a large decode.

    It is one switch for the process, so use this only around pure code that creates no cycles and is short.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _extend_plain(value: Any) -> Any:
    extend = _PLAIN_EXTENSIONS.get(type(value))
    if extend is None:
        raise NotPlainError
    return extend(value)


def _extend_fixed(code: int, value: datetime | time) -> Any:
    if (value.tzinfo is not None or value.fold) and not is_fixed(value):
        raise NotPlainError
    return msgpack.ExtType(code, value.isoformat().encode())


def _extend(value: Any) -> Any:
    if type(value) not in _EXTENSIONS:
        value = plain(value)
    extend = _EXTENSIONS.get(type(value))
    return value if extend is None else extend(value)


def _extend_int(value: int) -> Any:
    if -(1 << 63) <= value < 1 << 64:
        return value
    raw = value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
    return msgpack.ExtType(7, _bounded(raw, MAX_INT_BYTES))


_EXTENSIONS: dict[type, Callable[[Any], Any]] = {
    datetime: lambda value: msgpack.ExtType(1, value.isoformat().encode()),
    date: lambda value: msgpack.ExtType(2, value.isoformat().encode()),
    time: lambda value: msgpack.ExtType(3, value.isoformat().encode()),
    timedelta: lambda value: msgpack.ExtType(4, msgpack.packb((value.days, value.seconds, value.microseconds))),
    Decimal: lambda value: msgpack.ExtType(5, _bounded(str(value).encode(), MAX_DECIMAL_BYTES)),
    UUID: lambda value: msgpack.ExtType(6, value.bytes),
    int: _extend_int,
}
_PLAIN_EXTENSIONS: dict[type, Callable[[Any], Any]] = {
    **_EXTENSIONS,
    datetime: partial(_extend_fixed, 1),
    time: partial(_extend_fixed, 3),
}


def _bounded(raw: bytes, most: int) -> bytes:
    if len(raw) > most:
        raise TabularError(f"A number has {len(raw)} bytes; the most is {most}. Publish it as text")
    return raw


def _restore(code: int, raw: bytes) -> Any:
    if len(raw) > _LONGEST.get(code, _SHORT):
        raise EncodingError(f"A value with the type code {code} has {len(raw)} bytes")
    if code == 1:
        return datetime.fromisoformat(raw.decode())
    if code == 2:
        return date.fromisoformat(raw.decode())
    if code == 3:
        return time.fromisoformat(raw.decode())
    if code == 4:
        days, seconds, microseconds = msgpack.unpackb(raw)
        return timedelta(days, seconds, microseconds)
    if code == 5:
        return Decimal(raw.decode())
    if code == 6:
        return UUID(bytes=raw)
    if code == 7:
        return int.from_bytes(raw, "big", signed=True)
    raise EncodingError(f"A value has the type code {code}, of a later version of broker-plane; upgrade it")


_LONGEST = {5: MAX_DECIMAL_BYTES, 7: MAX_INT_BYTES}
