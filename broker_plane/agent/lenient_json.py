"""JSON as other people's tools write it: exact where it is valid, and with what JavaScript and Python add to it.

Lone surrogates (a cut emoji) and NaN are no JSON, but a tool result that has one may still hold a body.
"""

from __future__ import annotations

import json
from typing import Any

from broker_plane.tabular.json_values import json_value
from broker_plane.wire import exact_json

UNREADABLE = (ValueError, RecursionError)
"""What `loads` raises."""


def loads(text: str | bytes) -> Any:
    """The value of a JSON text. Raises one of UNREADABLE."""
    try:
        return exact_json.loads(text)
    except exact_json.MALFORMED:
        return json.loads(text)


def dumps(value: Any) -> str:
    """The JSON text of `value`: whole numbers of any size and NaN stay what they are."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=json_value)
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate travels as its escape only
        return json.dumps(value, separators=(",", ":"), default=json_value)
    return text
