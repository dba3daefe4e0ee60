"""One column of one frame, encoded: msgpack of its values, coded where that pays.

Coding bits: 1 the bytes stand in a zstd frame; 2 sparse, [absent positions, values]; 4 few, [distinct values, one byte
for each value that says which]; 8 an Arrow column and no msgpack. A reader refuses a bit that it does not know.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from backports import zstd

from broker_plane.errors import DigestMismatchError, EncodingError
from broker_plane.tabular import arrow
from broker_plane.tabular.frame import ABSENT
from broker_plane.tabular.types import pack, unpack

MAX_CHUNK_BYTES = 256 << 20
"""Of one column's chunk, decoded: what a reader is ready to hold."""

ZSTD, SPARSE, FEW, ARROW = 1, 2, 4, 8
_KNOWN = ZSTD | SPARSE | FEW | ARROW

_SAMPLE_BYTES = 8 * 1024
_PAYS_FROM = 4
"""zstd level 1 below this ratio costs more time than a local broker takes to move what it saves (decision 0002)."""

_ASK_AGAIN = 16
"""Frames for which a column's sample counts."""

_MOST_DISTINCT = 256
_SAMPLE_VALUES, _SAMPLE_DISTINCT = 64, 16
_EXACT = {str, int, type(None)}
"""Types of which equal values are the same: True == 1 == 1.0, and 0.0 == -0.0, are not."""


@dataclass(slots=True)
class Chunk:
    """One column of one frame, encoded."""

    name: str
    coding: int
    digest: bytes
    raw: bytes | memoryview

    def verify(self) -> None:
        if digest_of(self.raw) != self.digest:
            raise DigestMismatchError(f"The column {self.name!r} of the body is damaged; publish the body again")

    def values(self, count: int, places: Sequence[int] | None = None, *, verify: bool = True) -> list[Any]:
        """Verify and decode the `count` values, and return those at `places`; None is all of them.

        Raises:
            DigestMismatchError: the bytes are not those that were written.
        """
        if verify:
            self.verify()
        found, distinct = _decode(self.raw, self.coding)
        self._check(found, count)
        try:
            picked: Sequence[Any] = found if places is None else [found[place] for place in places]
            if distinct is not None:
                return list(map(distinct.__getitem__, picked))
            return picked if isinstance(picked, list) else list(picked)
        except (IndexError, TypeError) as error:
            raise _wrong(error) from error

    def array(self, count: int, *, verify: bool = True) -> arrow.Array:
        """As `values`, as an Arrow array, which is not copied where it was published as one."""
        if not self.coding & ARROW:
            return arrow.array_of(self.name, self.values(count, verify=verify))
        if verify:
            self.verify()
        array = arrow.decode(_decompress(self.raw) if self.coding & ZSTD else self.raw)
        self._check(array, count)
        return array

    def _check(self, values: Sized, count: int) -> None:
        if len(values) != count:
            raise EncodingError(f"The column {self.name!r} has {len(values)} values for {count} rows")


class ChunkEncoder:
    """Columns in, chunks out, frame after frame; it remembers of each column whether zstd paid."""

    def __init__(self) -> None:
        self.plain_size = 0
        """Bytes of what was encoded since it was last set to 0, before coding: what it takes in memory, roughly."""
        self._paying: dict[str, tuple[bool, int]] = {}
        self._zstd = zstd.ZstdCompressor(1)

    def encode(self, name: str, values: Sequence[Any], *, ragged: bool) -> Chunk:
        """The chunk of a column, in which ABSENT may stand where it is `ragged`."""
        if ragged:
            gaps = [place for place, value in enumerate(values) if value is ABSENT]
            plain, coding = pack([gaps, [value for value in values if value is not ABSENT]]), SPARSE
        elif (few := _few(values)) is not None:
            plain, coding = pack(few), FEW
            self.plain_size += (len(plain) - len(values)) * len(values) // max(1, len(few[0]))
        else:
            plain, coding = pack(values), 0
        self.plain_size += len(plain)
        if coding != FEW and self._pays(name, plain):
            plain, coding = self._compress(plain), coding | ZSTD
        return Chunk(name, coding, digest_of(plain), plain)

    def encode_array(self, name: str, array: arrow.Array) -> Chunk:
        """The chunk of an Arrow column."""
        plain, coding = arrow.encode(array), ARROW
        self.plain_size += len(plain)
        if self._pays(name, plain):
            plain, coding = self._compress(plain), coding | ZSTD
        return Chunk(name, coding, digest_of(plain), plain)

    def _pays(self, name: str, plain: bytes) -> bool:
        if len(plain) < 512:
            return False
        paying, left = self._paying.get(name, (False, 0))
        if not left:
            sample = plain[:_SAMPLE_BYTES]
            paying, left = len(self._compress(sample)) * _PAYS_FROM <= len(sample), _ASK_AGAIN
        self._paying[name] = (paying, left - 1)
        return paying

    def _compress(self, plain: bytes) -> bytes:
        return self._zstd.compress(plain, zstd.ZstdCompressor.FLUSH_FRAME)


def digest_of(raw: bytes | memoryview) -> bytes:
    """The digest of headers and chunks: 16 bytes of SHA-256."""
    return sha256(raw).digest()[:16]


def _few(values: Sequence[Any]) -> tuple[list[Any], bytes] | None:
    """The distinct values, and which of them each value is; None where there are many, as a sample says first."""
    sample = values[:_SAMPLE_VALUES]
    try:
        if len(sample) < _SAMPLE_VALUES or len(set(sample)) > _SAMPLE_DISTINCT or not set(map(type, values)) <= _EXACT:
            return None
    except TypeError:  # lists and dicts have no hash
        return None
    distinct = list(dict.fromkeys(values))
    if len(distinct) > _MOST_DISTINCT:
        return None
    places = {value: place for place, value in enumerate(distinct)}
    return distinct, bytes(map(places.__getitem__, values))


def _decode(raw: bytes | memoryview, coding: int) -> tuple[Sequence[Any], list[Any] | None]:
    """The values of a chunk, or which of the distinct ones each is, and these. Its coding, which a header says, may be
    unverified.

    Raises:
        EncodingError: they are in another coding, or one of a later version.
    """
    if coding & ~_KNOWN:
        raise EncodingError(f"A column has the coding {coding}, of a later version of broker-plane; upgrade it")
    try:
        plain = _decompress(raw) if coding & ZSTD else raw
        if coding & ARROW:
            return arrow.to_list(arrow.decode(plain)), None
        values = unpack(plain)
        if coding & FEW:
            distinct, which = values
            if isinstance(distinct, list) and isinstance(which, bytes) and not coding & SPARSE:
                return which, distinct
            raise TypeError("few")
        if coding & SPARSE:
            values = _spread(*values)
        if not isinstance(values, list):
            raise TypeError(type(values).__name__)
        return values, None
    except (zstd.ZstdError, TypeError, ValueError, IndexError, AttributeError, StopIteration) as error:
        raise _wrong(error) from error


def _wrong(error: Exception) -> EncodingError:
    return EncodingError("A column's chunk is not encoded as its header says", reason=repr(error))


def _decompress(raw: bytes | memoryview) -> bytes:
    """Bounded by what comes out, whatever the frame declares (it may be a bomb)."""
    stream = zstd.ZstdDecompressor()
    plain = stream.decompress(raw, max_length=MAX_CHUNK_BYTES)
    if not stream.eof:
        raise EncodingError(f"A column's chunk is above {MAX_CHUNK_BYTES >> 20} MiB, or its zstd frame is cut short")
    return plain


def _spread(gaps: list[int], values: list[Any]) -> list[Any]:
    lacking = set(gaps)
    present = iter(values)
    return [ABSENT if place in lacking else next(present) for place in range(len(gaps) + len(values))]
