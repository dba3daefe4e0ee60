"""The JSON codec for text from others: every value is kept exactly (docs/reference/wire-protocol.md#json). Pure.

It reads what Python's `json` reads: RFC 8259, and also NaN, Infinity, -Infinity and escaped lone surrogates, which many
programs write. Whole numbers keep all their digits; orjson turns those beyond 64 bits into floats. A number that no
float can hold, such as 1e999, is an error and not infinity.
"""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from broker_plane.wire.nesting import levels

MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The errors of `loads` for a text that is not JSON, or that is nested deeper than Python's stack."""

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
    """The JSON text of a value from `loads`; `loads` returns the same value again."""
    try:
        raw = _ENCODER.encode(value)
    except UnicodeEncodeError:  # a lone surrogate, which only an escape can express
        return _lenient_text(value)
    # msgspec silently writes NaN as null.
    return _lenient_text(value) if b"null" in raw and _has_no_number(value) else raw


def is_unicode(value: Any) -> bool:
    """Whether all text in a value from `loads` can be written as UTF-8; half of a surrogate pair cannot."""
    try:
        _ENCODER.encode(value)
    except UnicodeEncodeError:
        return False
    return True


def _lenient(text: str | bytes) -> Any:
    """As `loads`, with Python's own module, which is slower."""
    if not isinstance(text, str):
        text = bytes(text).decode()  # not left to json, which would accept UTF-16 as well
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
    """Whether it contains a NaN or an infinity."""
    return any(
        float in kinds and not all(math.isfinite(each) for each in values if type(each) is float)
        for values, kinds in levels([value])
    )
