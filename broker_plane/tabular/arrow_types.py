"""Arrow columns of the types that are stored: those that every reader has, and whose values share no bytes. Pure.

Views, dictionaries and runs are expanded; units become microseconds if that loses nothing. Nested types are taken apart
and rebuilt, because pyarrow cannot cast all of them, and casts list views to other values.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from broker_plane.errors import ConfigError, TabularError

Array = Any
"""A pyarrow.Array."""

_BOOLEANS, _JSON = "arrow.bool8", "arrow.json"


def pyarrow_module() -> Any:
    """The pyarrow module. Raises ConfigError if it is not installed."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.ipc
    except ImportError as error:
        raise ConfigError("Tables need pyarrow: pip install 'broker-plane[arrow]'") from error
    return pyarrow


def travelling(name: str, array: Array) -> Array:
    """The column `name` in the form that is stored.

    Raises:
        TabularError: its type cannot be stored, or it has values that Python cannot represent or that would change.
    """
    pa = pyarrow_module()
    try:
        found = _travelling(pa, name, array)
        _check_values(pa, found)
    except (pa.ArrowException, ValueError, OverflowError, TypeError, KeyError) as error:
        raise TabularError(
            f"The column {name!r} of the Arrow type {array.type} cannot be stored: {error}. "
            "Round times to microseconds, or cast the column first"
        ) from error
    return found


def is_plain(kind: Any) -> bool:
    """Whether values of this type cannot share their bytes.

    A small column of another type (dictionaries, views, runs, unions) could become a very large one when it is read.
    """
    types = pyarrow_module().types
    if is_list(types, kind):
        return is_plain(kind.value_type)
    if types.is_struct(kind):
        return all(is_plain(kind.field(place).type) for place in range(kind.num_fields))
    if types.is_map(kind):
        return is_plain(kind.key_type) and is_plain(kind.item_type)
    simple = (types.is_boolean, types.is_integer, types.is_floating, types.is_temporal, types.is_null)
    return (any(test(kind) for test in simple) and not types.is_interval(kind)) or has_texts(types, kind)


def is_list(types: Any, kind: Any) -> bool:
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def has_texts(types: Any, kind: Any) -> bool:
    tests = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    return any(test(kind) for test in tests) or types.is_decimal(kind)


def _travelling(pa: Any, name: str, array: Array) -> Array:
    types, kind = pa.types, array.type
    if types.is_dictionary(kind):
        return _travelling(pa, name, array.dictionary).take(array.indices)
    if types.is_run_end_encoded(kind):
        return _travelling(pa, name, pa.compute.run_end_decode(array))
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name not in (_BOOLEANS, _JSON):
            raise _cannot(name, kind)
        stored = array.storage
        return _travelling(pa, name, stored.cast(pa.bool_()) if kind.extension_name == _BOOLEANS else stored)
    if types.is_nested(kind):
        return array if _stays(kind) else _nested(pa, name, array)
    return array.cast(_flat_type(pa, name, kind))


def _flat_type(pa: Any, name: str, kind: Any) -> Any:
    types = pa.types
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
        return pa.binary()
    if types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    if types.is_duration(kind):
        return pa.duration("us")
    if types.is_time(kind):
        return pa.time64("us")
    if types.is_date(kind):
        return pa.date32()
    plain = (types.is_boolean, types.is_integer, types.is_floating, types.is_decimal, types.is_null)
    if any(test(kind) for test in plain) or types.is_fixed_size_binary(kind):
        return kind
    raise _cannot(name, kind)


@lru_cache(maxsize=1024)
def _stays(kind: Any) -> bool:
    """Whether a type is stored unchanged."""
    pa = pyarrow_module()
    if not is_plain(kind):
        return False
    if pa.types.is_nested(kind):
        return all(_stays(kind.field(place).type) for place in range(kind.num_fields))
    return bool(_flat_type(pa, "", kind) == kind)


def _nested(pa: Any, name: str, array: Array) -> Array:
    types, kind = pa.types, array.type
    absent = array.is_null() if array.null_count else None
    if types.is_struct(kind):
        fields = [kind.field(place) for place in range(kind.num_fields)]
        found = [_travelling(pa, name, array.field(place)) for place in range(kind.num_fields)]
        if not found:
            return array
        fields = [field.with_type(child.type) for field, child in zip(fields, found, strict=True)]
        return pa.StructArray.from_arrays(found, fields=fields, mask=absent)
    if types.is_fixed_size_list(kind):
        size = kind.list_size
        values = _travelling(pa, name, array.values.slice(array.offset * size, len(array) * size))
        return pa.FixedSizeListArray.from_arrays(values, size, mask=absent)
    if types.is_map(kind):
        start, size = span(array)
        keys, items = (_travelling(pa, name, part.slice(start, size)) for part in (array.keys, array.items))
        return pa.MapArray.from_arrays(_offsets(pa, array, absent), keys, items)
    large = types.is_large_list(kind) or types.is_large_list_view(kind)
    maker = pa.LargeListArray if large else pa.ListArray
    if types.is_list(kind) or types.is_large_list(kind):
        values = _travelling(pa, name, array.values.slice(*span(array)))
        return maker.from_arrays(_offsets(pa, array, absent), values)
    if types.is_list_view(kind) or types.is_large_list_view(kind):
        return _written_out(pa, name, array, maker)
    raise _cannot(name, kind)


def span(array: Array) -> tuple[int, int]:
    """The offset and the number of the values of a list column among those of its child."""
    if not len(array):
        return 0, 0
    start, stop = array.offsets[0].as_py(), array.offsets[-1].as_py()
    return start, stop - start


def _offsets(pa: Any, array: Array, absent: Array | None) -> Array:
    """The offsets of lists among their own values, null for a null list, as `from_arrays` takes them."""
    if not len(array):
        return pa.array([0], array.offsets.type)
    offsets = pa.compute.subtract(array.offsets, array.offsets[0])
    if absent is None:
        return offsets
    return pa.compute.if_else(pa.concat_arrays([absent, pa.array([False])]), pa.scalar(None, offsets.type), offsets)


def _written_out(pa: Any, name: str, array: Array, maker: Any) -> Array:
    """A list view as lists, each with values of its own."""
    starts, sizes = array.offsets.to_pylist(), array.sizes.to_pylist()
    present = array.is_valid().to_pylist()
    offsets: list[int | None] = []
    places: list[int] = []
    for start, size, there in zip(starts, sizes, present, strict=False):
        offsets.append(len(places) if there else None)
        places.extend(range(start, start + size) if there else ())
    kind = pa.int64() if maker is pa.LargeListArray else pa.int32()
    values = _travelling(pa, name, array.values).take(pa.array(places, pa.int64()))
    return maker.from_arrays(pa.array([*offsets, len(places)], kind), values)


def _check_values(pa: Any, array: Array) -> None:
    """Raise ValueError or OverflowError if Python cannot represent a date or time."""
    types, kind = pa.types, array.type
    if types.is_timestamp(kind) or types.is_date(kind):
        if types.is_timestamp(kind) and kind.tz is not None:
            _check_zone(kind)
        if array.null_count < len(array):
            for found in pa.compute.min_max(array).values():
                found.as_py()
    elif types.is_struct(kind):
        if len({kind.field(place).name for place in range(kind.num_fields)}) < kind.num_fields:
            raise ValueError("two of its fields have the same name")
        for place in range(kind.num_fields):
            _check_values(pa, array.field(place))
    elif types.is_map(kind):
        _check_values(pa, array.keys.slice(*span(array)))
        _check_values(pa, array.items.slice(*span(array)))
    elif is_list(types, kind):
        _check_values(pa, array.flatten())


@lru_cache(maxsize=64)
def _check_zone(kind: Any) -> None:
    pyarrow_module().array([0], kind).to_pylist()


def _cannot(name: str, kind: Any) -> TabularError:
    return TabularError(f"The column {name!r} is of the Arrow type {kind}, which cannot be stored; cast it first")
