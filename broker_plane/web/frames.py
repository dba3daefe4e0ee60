"""The frames that a server sends over WebSockets: unmasked, so one serves every reader (RFC 6455, 5.1). Pure."""

from __future__ import annotations

_TEXT, _BINARY = 0x81, 0x82
_SHORT, _MEDIUM = 125, 0xFFFF


def text_frame(payload: bytes) -> bytes:
    """A text message as one frame; `payload` is UTF-8."""
    return _frame(_TEXT, payload)


def binary_frame(payload: bytes) -> bytes:
    """A binary message as one frame."""
    return _frame(_BINARY, payload)


def _frame(head: int, payload: bytes) -> bytes:
    size = len(payload)
    if size <= _SHORT:
        return bytes((head, size)) + payload
    if size <= _MEDIUM:
        return bytes((head, 126)) + size.to_bytes(2, "big") + payload
    return bytes((head, 127)) + size.to_bytes(8, "big") + payload
