"""The bounds of a stored rows body: what a writer refuses to publish is what a reader refuses to decode. Pure.

A reader checks them before it takes memory, because an owner may write any bytes into its own bucket. All sizes are in
bytes; MiB in messages are 2^20.
"""

from __future__ import annotations

LAST_SECOND = 2**32 - 1
"""The latest time that metadata may name, in unix seconds (the year 2106). A feed's body lives until then."""

MAX_SAFE_INT = 1 << 53
"""Sizes and sequences stay below it, so that every JSON reader has them exactly."""

MAX_COLUMNS = 1 << 14
"""Of a body."""

MAX_NAMES_BYTES = 2 << 20
"""Of the names of all columns of a body, encoded."""

MAX_BODY_ROWS = (1 << 32) - 1
"""The most that a msgpack array can hold, which is one of the views."""

MAX_FRAMES = 1 << 17
MAX_TABLE_BYTES = 8 << 20
"""Of the frame table, encoded: room for `MAX_FRAMES` entries and `MAX_NAMES_BYTES` of names."""

MAX_FRAME_ROWS = 1 << 17
MAX_HEADER_BYTES = 4 << 20
MAX_FRAME_BYTES = 32 << 20
"""Of one frame, encoded, without its header. A frame with more than one row is smaller: see `FRAME_MEMORY`."""

MAX_EXPANDED = 16 << 20
"""What the coded columns of a frame may have more, once they are decoded, than a frame has stored bytes."""

FRAME_MEMORY = 32 << 20
"""What the values of a frame may take in memory, as `tabular/weighing.py` estimates it. A writer keeps every frame of
more than one row below this."""

MEMORY_PER_STORED_BYTE = 32
"""A reader gives a frame this much more, so that one large row can be read: whoever wants memory must store bytes."""

MOST_FRAME_MEMORY = 128 << 20
"""And this is the most that a frame gets."""

MAX_INT_BYTES = 1780
"""Of a whole number: 4,285 decimal digits. Python converts no longer one to text (sys.set_int_max_str_digits)."""

MAX_DECIMAL_BYTES = 1 << 16
"""Of a Decimal's text."""

MAX_NAME = 4096
"""Characters of a body's name."""

MAX_MEDIA_TYPE = 255
"""Characters (RFC 6838 has 127 for each of its two parts)."""

MAX_CHUNKS = 1 << 24
MAX_RUNS = 1 << 17
"""Runs of chunks that stand side by side in the stream."""
