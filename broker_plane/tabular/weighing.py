"""Estimates the memory of decoded msgpack from its bytes, so that a bomb is refused in time. Pure.

One byte of msgpack can become a list of 88 bytes. The estimate is an upper bound to within a factor of two: a value
takes 8 bytes in its list, a number 32 bytes, a text 72 and four bytes a character, a list 104, a map 216.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from broker_plane.errors import EncodingError
from broker_plane.wire.bounds import (
    FRAME_MEMORY,
    MAX_EXPANDED,
    MEMORY_PER_STORED_BYTE,
    MOST_FRAME_MEMORY,
)

_CHEAP = bytes([*range(0x80), 0xC0, 0xC2, 0xC3, *range(0xFB, 0x100)])
"""First bytes of values that are singletons in Python: small ints, None, booleans."""

_LISTS, _MAPS = bytes([*range(0x90, 0xA0), 0xDC, 0xDD]), bytes([*range(0x80, 0x90), 0xDE, 0xDF])
_CONTAINERS = _LISTS + _MAPS
_NO_CONTAINERS = bytes(set(range(0x100)) - set(_CONTAINERS))
_NO_MAPS = bytes(set(range(0x100)) - set(_MAPS))
_SLOT, _OBJECT, _LIST, _MAP = 8, 72, 104, 216
_LONG = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
"""The number of length bytes that follow: bin, ext and str."""

_EXT = frozenset({0xC7, 0xC8, 0xC9})


def _sizes() -> list[int]:
    """The size of a value by its first byte, without its members; 0 if a length follows."""
    sizes = [1] * 256
    for size in range(32):
        sizes[0xA0 + size] = 1 + size
    for first, size in {0xCA: 5, 0xCB: 9, 0xDC: 3, 0xDD: 5, 0xDE: 3, 0xDF: 5}.items():
        sizes[first] = size
    for place in range(4):
        sizes[0xCC + place] = sizes[0xD0 + place] = 1 + (1 << place)
    for place in range(5):
        sizes[0xD4 + place] = 2 + (1 << place)
    for first in _LONG:
        sizes[first] = 0
    return sizes


_SIZES = _sizes()
_WINDOW = 1 << 16
_RUN = re.compile(rb"[\x00-\x9f\xc0\xc2\xc3\xe0-\xff]+")
"""Values of one byte, and the beginnings of short lists and maps, in a row."""


def scalars_weight(count: int, size: int) -> int:
    """The memory of `count` numbers, texts or Nones that have `size` bytes together."""
    own, most = _OBJECT * count + 4 * size, 2 * _SLOT * size
    return _SLOT * count + (own if own < most else most)  # faster than min(), once for each column


def quick_weight(raw: bytes | memoryview) -> int:
    """An upper bound of `exact_weight`: each byte counts as if a value started with it."""
    others = containers = 0
    for start in range(0, len(raw), _WINDOW):  # so that weighing takes no memory itself
        window = bytes(raw[start : start + _WINDOW])
        others += len(window.translate(None, _CHEAP))
        containers += len(window.translate(None, _NO_CONTAINERS))
    return _SLOT * len(raw) + _OBJECT * others + (_MAP - _OBJECT - _SLOT) * containers


def exact_weight(raw: bytes | memoryview, most: int) -> int:
    """The memory by what each value is; stops counting above `most`. For the few chunks for which the bound is too
    rough.
    """
    data = bytes(raw)
    place, weight, end = 0, 0, len(data)
    while place < end and weight <= most:
        if run := _RUN.match(data, place, place + _WINDOW):
            weight += _run_weight(run[0])
            place = run.end()
            continue
        first = data[place]
        size = _SIZES[first]
        if not size:
            length = _LONG[first]
            size = 1 + length + (first in _EXT) + int.from_bytes(data[place + 1 : place + 1 + length], "big")
        weight += _own_weight(first, size)
        place += size
    return weight


def _own_weight(first: int, size: int) -> int:
    """The memory of a value of `size` bytes with this first byte, without its members."""
    if first in _MAPS:
        return _MAP
    return _LIST if first in _LISTS else scalars_weight(1, size)


def _run_weight(run: bytes) -> int:
    """The memory of one-byte values, lists and maps."""
    maps = len(run.translate(None, _NO_MAPS))
    lists = len(run.translate(None, _NO_CONTAINERS)) - maps
    others = len(run.translate(None, _CHEAP)) - maps - lists
    cheap = len(run) - maps - lists - others
    return _MAP * maps + _LIST * lists + scalars_weight(1, 1) * others + _SLOT * cheap


class _Meter:
    """Adds up rough upper bounds, and replaces them by exact figures once their sum is too large."""

    def __init__(self, most: int, refusal: str) -> None:
        self.most = most
        self.spent = 0
        self._refusal = refusal
        self._rough: list[tuple[int, Callable[[int], int]]] = []

    def charge(self, size: int, exact: Callable[[int], int] | None = None) -> None:
        self.spent += size
        if exact is not None:
            self._rough.append((size, exact))
        if self.spent > self.most and not self.within(self.most):
            raise EncodingError(f"{self._refusal} {self.most >> 20} MiB")

    def within(self, most: int) -> bool:
        """Whether everything that was charged is at most `most`."""
        if self.spent > most:
            for rough, counted in self._rough:
                self.spent += counted(most) - rough
            self._rough.clear()
        return self.spent <= most


class Budget:
    """What the columns of one frame may still take. Each is charged before it is decoded.

    A charge may be a rough upper bound, with a function for the exact figure, which is more expensive and may stop
    above its argument. A charge raises EncodingError if the budget does not allow it.
    """

    def __init__(self, memory: int, expanded: int) -> None:
        self.memory = _Meter(memory, "The values of a group of rows would take more memory than")
        self.expanded = _Meter(expanded, "The columns of a group of rows decode to more than")
        self.size = 0
        """The size of the decoded values in bytes."""


def reading_budget(stored: int) -> Budget:
    """The budget of a frame whose chunks have `stored` bytes."""
    memory = min(FRAME_MEMORY + MEMORY_PER_STORED_BYTE * stored, MOST_FRAME_MEMORY)
    return Budget(memory, MAX_EXPANDED)
