"""The detail of a verdict: what the code raised and what it printed, within MAX_DETAIL_BYTES."""

from __future__ import annotations

from typing import Final

from broker_plane.sandbox.ports import MAX_DETAIL_BYTES

_PRINTED_SHARE: Final = MAX_DETAIL_BYTES // 4
_CUT: Final = "…"


def detail(raised: str, printed: str = "") -> str:
    """What was raised and the end of what was printed. A traceback is cut at its start: its last lines say most."""
    raised, printed = raised.strip(), printed.strip()
    if not printed:
        return _end(raised, MAX_DETAIL_BYTES)
    if not raised:
        return _end(printed, MAX_DETAIL_BYTES)
    said = f"\n\nPrinted:\n{_end(printed, _PRINTED_SHARE)}"
    return _end(raised, MAX_DETAIL_BYTES - len(said.encode())) + said


def _end(text: str, most: int) -> str:
    """The last characters of a text, in at most `most` bytes of UTF-8."""
    raw = text[-most:].encode(errors="backslashreplace")
    if len(raw) <= most and len(text) <= most:
        return raw.decode()
    return _CUT + raw[len(_CUT.encode()) - most :].decode(errors="ignore")
