"""The limits of a stored rows body: writers refuse to publish exactly what readers refuse to decode. Pure.

Readers check them before they allocate memory, because an owner may write any bytes into its own bucket. All sizes are
in bytes; a MiB in messages is 2^20.
"""

from __future__ import annotations

LAST_SECOND = 2**32 - 1
"""The latest time that metadata may name, in unix seconds (the year 2106). A feed's body lives until then."""

MAX_SAFE_INT = 1 << 53
"""Sizes and sequences stay below this, so that every JSON reader has them exactly."""

MAX_COLUMNS = 1 << 14
"""Maximum number of columns of a body."""

MAX_NAMES_BYTES = 2 << 20
"""Maximum size of the names of all columns of a body, encoded."""

MAX_BODY_ROWS = (1 << 32) - 1
"""The maximum length of a msgpack array, which is one of the views."""

MAX_FRAMES = 1 << 17
MAX_TABLE_BYTES = 8 << 20
"""Maximum size of the frame table, encoded: room for `MAX_FRAMES` entries and `MAX_NAMES_BYTES` of names."""

MAX_FRAME_ROWS = 1 << 17
MAX_HEADER_BYTES = 4 << 20
MAX_FRAME_BYTES = 32 << 20
"""Maximum size of one frame, encoded, without its header. Frames of several rows are smaller: see `FRAME_MEMORY`."""

MAX_EXPANDED = 16 << 20
"""How many bytes more than its stored bytes the coded columns of a frame may have once they are decoded."""

FRAME_MEMORY = 32 << 20
"""Memory that the values of a frame may take, as `tabular/weighing.py` estimates it. Writers keep every frame of
several rows below this."""

MEMORY_PER_STORED_BYTE = 32
"""Readers allow this much memory more per stored byte, so that one large row can be read."""

MOST_FRAME_MEMORY = 128 << 20
"""Maximum memory of a frame in any case."""

MAX_INT_BYTES = 1780
"""Maximum size of a whole number: 4,285 digits. Python converts no longer ones to text (sys.set_int_max_str_digits)."""

MAX_DECIMAL_BYTES = 1 << 16
"""Maximum size of a Decimal's text."""

MAX_NAME = 4096
"""Maximum length of a body's name, in characters."""

MAX_MEDIA_TYPE = 255
"""Maximum length in characters (RFC 6838 allows 127 for each of the two parts)."""

MAX_CHUNKS = 1 << 24
MAX_RUNS = 1 << 17
"""Maximum number of runs of consecutive chunks in the stream."""
