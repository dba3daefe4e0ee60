"""One column of one frame, encoded: msgpack of its values, compressed or coded if that pays. Pure.

Coding bits: 1 the bytes are a zstd frame; 2 sparse, [absent positions, values]; 4 few distinct values, [distinct
values, one byte for each value that selects one]; 8 an Arrow column instead of msgpack. Readers refuse unknown bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any

import msgpack
import msgspec
from backports import zstd
from msgspec import Meta

from broker_plane.errors import DigestMismatchError, EncodingError, TabularError
from broker_plane.tabular import arrow
from broker_plane.tabular.frame import ABSENT, Absent
from broker_plane.tabular.plain import plain_column
from broker_plane.tabular.types import NotPlainError, pack, pack_plain, pack_scalars, unpack
from broker_plane.tabular.weighing import Budget, exact_weight, quick_weight, reading_budget, scalars_weight
from broker_plane.wire.bounds import MAX_FRAME_ROWS

ZSTD, SPARSE, FEW, ARROW = 1, 2, 4, 8
_KNOWN = ZSTD | SPARSE | FEW | ARROW
_WINDOW: Mapping[int, int] = {zstd.DecompressionParameter.window_log_max: 24}
"""Maximum window (log2): a zstd frame may request gigabytes; level 1 needs 19."""

_SAMPLE_BYTES = 8 * 1024
_LEAST_COMPRESSED = 512
"""Bytes below which a column is never compressed."""

_PAYS_FROM = 4
"""The compression ratio from which zstd level 1 takes less time than a local broker needs for the saved bytes (decision
0002).
"""

_ASK_AGAIN = 16
"""The number of frames for which a column's sample is valid."""

_MOST_DISTINCT = 256
_SAMPLE_VALUES, _SAMPLE_DISTINCT = 64, 16
_AT_ONCE = 512
_SCALARS = frozenset({type(None), bool, int, float, str, bytes})
_CONTAINERS = frozenset({dict, list})
_EXACT = frozenset({str, int, type(None)})
"""Types whose equal values are identical: True == 1 == 1.0, and 0.0 == -0.0, are not."""


@dataclass(slots=True)
class Chunk:
    """One column of one frame, encoded."""

    name: str
    coding: int
    digest: bytes
    raw: bytes | memoryview

    @property
    def plain_size(self) -> int:
        """The number of bytes before compression, as the zstd frame declares it; decoding more than that fails."""
        if not self.coding & ZSTD:
            return len(self.raw)
        try:
            return zstd.get_frame_info(self.raw).decompressed_size or 0
        except zstd.ZstdError:  # refused when it is decoded
            return 0

    def verify(self) -> None:
        if chunk_digest(self.raw) != self.digest:
            raise DigestMismatchError(f"The column {self.name!r} of the body is damaged; publish the body again")

    def values(
        self,
        count: int,
        places: Sequence[int] | None = None,
        *,
        verify: bool = True,
        budget: Budget | None = None,
    ) -> list[Any]:
        """Verify and decode the `count` values, and return those at `places`; None returns all of them.

        `budget` is the frame's; None makes one for this column alone.

        Raises:
            DigestMismatchError: the bytes are not those that were written.
            EncodingError: they are not a column, or one that takes more than a frame may.
        """
        if verify:
            self.verify()
        found, distinct = _decode(self.raw, self.coding, count, budget or reading_budget(len(self.raw)))
        self._check(found, count)
        try:
            picked: Sequence[Any] = found if places is None else [found[place] for place in places]
            if distinct is not None:
                return list(map(distinct.__getitem__, picked))
            return picked if isinstance(picked, list) else list(picked)
        except (IndexError, TypeError) as error:
            raise _wrong(error) from error

    def array(self, count: int, *, verify: bool = True, budget: Budget | None = None) -> arrow.Array:
        """As `values`, as an Arrow array, which is not copied if it was published as one."""
        if not self.coding & ARROW:
            return arrow.array_of(self.name, self.values(count, verify=verify, budget=budget))
        if verify:
            self.verify()
        _check_coding(self.coding)
        array = arrow.decode(_plain(self.raw, self.coding, budget or reading_budget(len(self.raw))))
        self._check(array, count)
        return array

    def _check(self, values: Sized, count: int) -> None:
        if len(values) != count:
            raise EncodingError(f"The column {self.name!r} has {len(values)} values for {count} rows")


class ChunkEncoder:
    """Encodes columns, frame by frame; it remembers for each column whether compression paid.

    `budget` is that of the frame being encoded: what a reader will need is charged as the reader charges it.
    """

    def __init__(self, *, plain: bool = False) -> None:
        self.budget = reading_budget(0)
        self.changed: set[str] = set()
        """The columns with values that were not plain (plain.py) and were converted."""
        self._are_plain = plain
        self._paying: dict[str, tuple[bool, int]] = {}
        self._zstd: zstd.ZstdCompressor | None = None

    def encode(self, name: str, values: Sequence[Any], *, ragged: bool, first: int = 0) -> Chunk:
        """The chunk of a column, which may contain ABSENT if it is `ragged`; its values start in row `first`.

        Raises:
            EncodingError: the budget is used up.
            TabularError: a value cannot be stored.
        """
        try:
            return self._encode(name, values, ragged)
        except (NotPlainError, TabularError) as error:
            if isinstance(error, EncodingError):
                raise
            self.changed.add(name)
            return self._encode(name, packable_column(name, values, first), ragged)

    def _encode(self, name: str, values: Sequence[Any], ragged: bool) -> Chunk:
        kinds = set(map(type, values))
        if ragged:
            return self._sparse(name, values, kinds)
        if len(values) >= _SAMPLE_VALUES and kinds <= _EXACT and (few := _few(values)) is not None:
            return self._repeating(name, few, len(values))
        budget = self.budget
        if kinds <= _SCALARS:
            plain = pack_scalars(values)
            budget.memory.charge(scalars_weight(len(values), len(plain)))
        else:
            plain = self._packed(values, 1, flat=_CONTAINERS.isdisjoint(kinds))
            _charge(budget, plain, 0, len(values), scalars=False)
        budget.size += len(plain)
        if len(plain) < _LEAST_COMPRESSED:
            return Chunk(name, 0, chunk_digest(plain), plain)
        plain, coding = self._coded(name, plain, 0)
        return Chunk(name, coding, chunk_digest(plain), plain)

    def _sparse(self, name: str, values: Sequence[Any], kinds: set[type]) -> Chunk:
        gaps = [place for place, value in enumerate(values) if value is ABSENT]
        present = [value for value in values if value is not ABSENT]
        kinds.discard(Absent)
        scalars = kinds <= _SCALARS
        if scalars:
            plain = pack_scalars((gaps, present))
        else:
            plain = self._packed([gaps, present], 2, flat=_CONTAINERS.isdisjoint(kinds))
        _charge(self.budget, plain, SPARSE, len(values), scalars=scalars)
        self.budget.size += len(plain)
        plain, coding = self._coded(name, plain, SPARSE)
        return Chunk(name, coding, chunk_digest(plain), plain)

    def _repeating(self, name: str, few: tuple[list[Any], bytes], count: int) -> Chunk:
        plain = pack_scalars(few)
        _expand(self.budget, *few)
        self.budget.size += _repeated(few, len(plain)) + len(plain)
        _charge(self.budget, plain, FEW, count, scalars=True)
        return Chunk(name, FEW, chunk_digest(plain), plain)

    def encode_array(self, name: str, array: arrow.Array) -> Chunk:
        """The chunk of an Arrow column. Raises as `encode`."""
        self.budget.memory.charge(arrow.weight(array))
        plain = arrow.encode(array)
        self.budget.size += len(plain)
        plain, coding = self._coded(name, plain, ARROW)
        return Chunk(name, coding, chunk_digest(plain), plain)

    def _packed(self, values: Any, around: int, *, flat: bool) -> bytes:
        return pack(values) if self._are_plain else pack_plain(values, around, flat=flat)

    def _coded(self, name: str, plain: bytes, coding: int) -> tuple[bytes, int]:
        """Compressed if that pays and readers accept it: they refuse small chunks that expand to very large ones."""
        expanded = self.budget.expanded
        if expanded.spent + len(plain) > expanded.most or not self._pays(name, plain):
            return plain, coding
        expanded.charge(len(plain))
        return self._compress(plain), coding | ZSTD

    def _pays(self, name: str, plain: bytes) -> bool:
        if len(plain) < _LEAST_COMPRESSED:
            return False
        paying, left = self._paying.get(name, (False, 0))
        if not left:
            sample = plain[:_SAMPLE_BYTES]
            paying, left = len(self._compress(sample)) * _PAYS_FROM <= len(sample), _ASK_AGAIN
        self._paying[name] = (paying, left - 1)
        return paying

    def _compress(self, plain: bytes) -> bytes:
        if self._zstd is None:  # creating one takes as long as encoding a small frame
            self._zstd = zstd.ZstdCompressor(1)
        return self._zstd.compress(plain, zstd.ZstdCompressor.FLUSH_FRAME)


def packable_column(name: str, values: Sequence[Any], first: int) -> Sequence[Any]:
    """The values of a column in plain form, each of which can be packed.

    Raises:
        TabularError: names the row, the column and the type of one that cannot.
    """
    found = plain_column(name, values, first, Absent)
    for place, value in enumerate(found):
        try:
            if type(value) not in _SCALARS and value is not ABSENT:
                pack_plain([value], 1)
            elif type(value) is int:
                pack(value)
        except (NotPlainError, TabularError) as error:
            raise TabularError(f"Row {first + place}, column {name!r}: {error.__cause__ or error}") from error
    return found


def chunk_digest(raw: bytes | memoryview) -> bytes:
    """The digest of headers and chunks: 16 bytes of SHA-256."""
    return sha256(raw).digest()[:16]


def _few(values: Sequence[Any]) -> tuple[list[Any], bytes] | None:
    """The distinct values of a column of `_EXACT` types, and the position of each value among them.

    None if there are too many, which a sample of the first values shows early.
    """
    if len(set(values[:_SAMPLE_VALUES])) > _SAMPLE_DISTINCT:
        return None
    distinct: dict[Any, None] = {}
    for start in range(0, len(values), _AT_ONCE):  # so that too many are noticed early
        distinct.update(dict.fromkeys(values[start : start + _AT_ONCE]))
        if len(distinct) > _MOST_DISTINCT:
            return None
    places = {value: place for place, value in enumerate(distinct)}
    return list(distinct), bytes(map(places.__getitem__, values))


_Number = None | bool | int | float
_Places = Annotated[list[Annotated[int, Meta(ge=0, lt=MAX_FRAME_ROWS)]], Meta(max_length=MAX_FRAME_ROWS)]
_Texts = Annotated[list[_Number | str], Meta(max_length=MAX_FRAME_ROWS)]
_Binaries = Annotated[list[_Number | bytes], Meta(max_length=MAX_FRAME_ROWS)]
_FewTexts = Annotated[list[_Number | str], Meta(max_length=_MOST_DISTINCT)]
_FLAT: dict[int, list[msgspec.msgpack.Decoder[Any]]] = {
    0: [msgspec.msgpack.Decoder(_Texts), msgspec.msgpack.Decoder(_Binaries)],
    SPARSE: [msgspec.msgpack.Decoder(tuple[_Places, _Texts]), msgspec.msgpack.Decoder(tuple[_Places, _Binaries])],
    FEW: [msgspec.msgpack.Decoder(tuple[_FewTexts, bytes])],
}
"""Columns of numbers and texts, or of numbers and bytes, by coding: nearly all of them. They are checked as they are
decoded, so that bytes of anything else make no object at all."""


def _decode(raw: bytes | memoryview, coding: int, count: int, budget: Budget) -> tuple[Sequence[Any], list[Any] | None]:
    """The values of a chunk, or the positions and the distinct values. The coding comes from a header and may be
    unverified.

    Raises:
        EncodingError: the coding is wrong, or of a later version.
    """
    if not coding and (found := _flat(raw, 0)) is not None:
        budget.size += len(raw)
        budget.memory.charge(scalars_weight(count, len(raw)))
        return found, None
    _check_coding(coding)
    plain = _plain(raw, coding, budget)
    if coding & ARROW:
        array = arrow.decode(plain)
        budget.memory.charge(arrow.weight(array))
        return arrow.to_list(array), None
    kind = coding & (SPARSE | FEW)
    found = _flat(plain, kind)
    if found is None:
        _check_length(plain, kind, count)
    _charge(budget, plain, kind, count, scalars=found is not None)
    try:
        values = unpack(plain) if found is None else found
        if kind == FEW:
            distinct, which = values
            if not (isinstance(distinct, list) and isinstance(which, bytes) and _EXACT.issuperset(map(type, distinct))):
                raise TypeError("few")
            _expand(budget, distinct, which)
            budget.size += _repeated(values, len(plain))
            return which, distinct
        if kind == SPARSE:
            gaps, present = values
            values = _spread(gaps, present, count)
        if not isinstance(values, list):
            raise TypeError(type(values).__name__)
        return values, None
    except (TypeError, ValueError, IndexError, AttributeError, StopIteration) as error:
        raise _wrong(error) from error


def _flat(plain: bytes | memoryview, kind: int) -> Any:
    """The decoded chunk of numbers and texts or bytes; None if it holds anything else."""
    for decoder in _FLAT[kind]:
        try:
            return decoder.decode(plain)
        except (msgspec.DecodeError, UnicodeDecodeError):  # a lone surrogate is not an error for `unpack`
            continue
    return None


def _check_length(plain: bytes | memoryview, kind: int, count: int) -> None:
    """Raise if the list at the start of a column is too long for `count` values, without decoding it."""
    head = msgpack.Unpacker()
    head.feed(bytes(plain[:16]))
    try:
        if kind:
            head.read_array_header()
        if head.read_array_header() > count:
            raise EncodingError(f"A column has more values than the {count} rows of its group")
    except (ValueError, msgpack.UnpackException) as error:
        raise _wrong(error) from error


def _charge(budget: Budget, plain: bytes | memoryview, kind: int, count: int, *, scalars: bool) -> None:
    """Charge the memory of a column of `count` values."""
    more = 8 * count if kind else 0
    if not scalars:
        budget.memory.charge(quick_weight(plain) + more, lambda most: exact_weight(plain, most) + more)
    elif kind == FEW:
        budget.memory.charge(scalars_weight(_MOST_DISTINCT, max(0, len(plain) - count)) + more)
    else:
        budget.memory.charge(scalars_weight(count, len(plain)) + more)


def _expand(budget: Budget, distinct: list[Any], which: bytes) -> None:
    """Charge the size of repeated values when each is written out."""
    longest = 4 * max(map(len, [value for value in distinct if type(value) is str]), default=0) + 9

    def exact(_: int) -> int:
        return sum(len(pack(value)) * which.count(bytes([place])) for place, value in enumerate(distinct[:256]))

    budget.expanded.charge(longest * len(which), exact)


def _repeated(few: Sequence[Any], size: int) -> int:
    """The approximate size of a column of `few` distinct values without coding."""
    distinct, which = few
    return (size - len(which)) * len(which) // max(1, len(distinct))


def _check_coding(coding: int) -> None:
    if coding & ~_KNOWN:
        raise EncodingError(f"A column has the coding {coding}, of a later version of broker-plane; upgrade it")
    if coding & ~ZSTD not in (0, SPARSE, FEW, ARROW):
        raise EncodingError(f"A column has the coding {coding}, which is inconsistent")


def _wrong(error: Exception) -> EncodingError:
    return EncodingError("A column's chunk is not encoded as its header says", reason=repr(error)[:300])


def _plain(raw: bytes | memoryview, coding: int, budget: Budget) -> bytes | memoryview:
    """The chunk without compression. The declared size is charged before a byte of it is decompressed."""
    if not coding & ZSTD:
        budget.size += len(raw)
        return raw
    try:
        size = zstd.get_frame_info(raw).decompressed_size
        if size is None:
            raise EncodingError("A column's zstd frame does not say how large it is")
        budget.expanded.charge(size)
        stream = zstd.ZstdDecompressor(options=_WINDOW)
        plain = stream.decompress(raw, max_length=size + 1)
    except zstd.ZstdError as error:
        raise _wrong(error) from error
    if len(plain) != size or not stream.eof or stream.unused_data:
        raise EncodingError("A column's zstd frame does not have the size that it declares")
    budget.size += size
    return plain


def _spread(gaps: list[int], values: list[Any], count: int) -> list[Any]:
    if len(gaps) + len(values) != count or not {int}.issuperset(map(type, gaps)):
        raise TypeError("sparse")
    if gaps and not 0 <= min(gaps) <= max(gaps) < count:
        raise IndexError("sparse")
    lacking = set(gaps)
    present = iter(values)
    return [ABSENT if place in lacking else next(present) for place in range(count)]
