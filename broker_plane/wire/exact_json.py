"""The one JSON codec for text that others wrote: every value stays what it is (wire.md, section 5).

It reads what Python's `json` reads: RFC 8259, and besides it NaN, Infinity, -Infinity and escapes of half a surrogate
pair, which many programs write. Whole numbers keep all their digits, where orjson makes floats of those beyond 64 bits.
A number that no float can hold, such as 1e999, is an error and not an infinity.
"""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from broker_plane.wire.nesting import levels

MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What `loads` raises for a text that is not JSON, or that nests deeper than Python's stack."""

_DECODER = msgspec.json.Decoder()
_ENCODER = msgspec.json.Encoder()


def loads(text: str | bytes) -> Any:
    """The value of a JSON text. Raises one of MALFORMED."""
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise msgspec.DecodeError("it is nested too deeply") from error
    except (msgspec.DecodeError, UnicodeError):
        return _lenient(text)


def dumps(value: Any) -> bytes:
    """The JSON text of what `loads` gave; `loads` gives the same again."""
    try:
        raw = _ENCODER.encode(value)
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can spell
        return _lenient_text(value)
    # msgspec writes NaN as null, without a word.
    return _lenient_text(value) if b"null" in raw and _has_no_number(value) else raw


def _lenient(text: str | bytes) -> Any:
    """As `loads`, by Python's own module, which is slower."""
    if not isinstance(text, str):
        text = bytes(text).decode()  # not left to json, which would take UTF-16 as well
    try:
        return _LENIENT.decode(text)
    except RecursionError as error:
        raise msgspec.DecodeError("it is nested too deeply") from error
    except ValueError as error:
        raise msgspec.DecodeError(str(error)) from error


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"the number {digits[:40]} is out of range")
    return number


_LENIENT = json.JSONDecoder(parse_float=_finite)


def _lenient_text(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _has_no_number(value: Any) -> bool:
    """Whether a NaN or an infinity is in it."""
    return any(
        float in kinds and not all(math.isfinite(each) for each in values if type(each) is float)
        for values, kinds in levels([value])
    )
