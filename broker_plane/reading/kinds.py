"""What the bytes of an opaque body are for a reader: text, JSON or neither. Pure."""

from __future__ import annotations

import codecs

from broker_plane.reading.answers import Kind

SNIFFED_BYTES = 1 << 16
"""The size of the beginning that decides for a media type that says nothing."""

_TEXTS = frozenset(
    {
        "application/ecmascript",
        "application/graphql",
        "application/javascript",
        "application/jsonl",
        "application/ndjson",
        "application/sql",
        "application/toml",
        "application/x-ndjson",
        "application/x-sh",
        "application/x-yaml",
        "application/xml",
        "application/yaml",
        "image/svg+xml",
    }
)
_BINARY = bytes(set(range(32)) - {*b"\t\n\r\f\b\x1b"})
_MOST_CONTROLS = 0.01
"""The fraction of control characters up to which bytes are text."""


def opaque_kind(media_type: str, beginning: bytes) -> Kind:
    """The kind of a body with this media type, whose first `SNIFFED_BYTES` bytes are `beginning`."""
    bare = media_type.partition(";")[0].strip().lower()
    if bare == "application/json" or bare.endswith("+json"):
        return "json" if is_text(beginning) else "bytes"
    if bare.startswith("text/") or bare in _TEXTS or bare.endswith(("+xml", "+yaml")):
        return "text" if b"\x00" not in beginning else "bytes"
    return "text" if is_text(beginning) else "bytes"


def is_text(beginning: bytes) -> bool:
    """Whether bytes are UTF-8 without more control characters than a terminal's log has."""
    if b"\x00" in beginning:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(beginning)  # the last character may be incomplete
    except UnicodeDecodeError:
        return False
    controls = len(beginning) - len(beginning.translate(None, _BINARY))
    return controls <= len(beginning) * _MOST_CONTROLS
