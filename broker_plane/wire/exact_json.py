"""JSON whose whole numbers stay what they are, of any size (wire.md, section 5).

orjson makes floats of what is beyond 64 bits, without a word.
"""

from __future__ import annotations

from typing import Any

import msgspec

MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What `loads` raises for a text that is no JSON, or nests deeper than Python's stack."""

_DECODER = msgspec.json.Decoder()
_ENCODER = msgspec.json.Encoder()


def loads(text: str | bytes) -> Any:
    """The value of a JSON text. Raises one of MALFORMED."""
    return _DECODER.decode(text)


def dumps(value: Any) -> bytes:
    """The JSON text of what `loads` gave."""
    return _ENCODER.encode(value)
