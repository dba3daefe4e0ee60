"""Which chunks of a stored body belong to the next window of a pull. Pure."""

from __future__ import annotations

from broker_plane.errors import WireError
from broker_plane.wire.body import BodyInfo


def place_of(body: BodyInfo, sequence: int) -> int:
    """The number of the chunk that has this stream sequence."""
    number = 0
    for first, count in body.runs:
        if first <= sequence < first + count:
            return number + sequence - first
        number += count
    return number


def window_after(body: BodyInfo, after: int, max_chunks: int) -> tuple[int, int]:
    """The first sequence and the number of chunks after the sequence `after`; a window is within one run of the body.

    `(0, 0)` if there are no more.

    Raises:
        WireError: `after` is not a sequence of this body.
    """
    if after < 0:
        sequence, count = body.runs[0]
        return sequence, min(count, max_chunks)
    for place, (sequence, count) in enumerate(body.runs):
        if sequence <= after < sequence + count:
            left = sequence + count - after - 1
            if left:
                return after + 1, min(left, max_chunks)
            if place + 1 < len(body.runs):
                sequence, count = body.runs[place + 1]
                return sequence, min(count, max_chunks)
            return 0, 0
    raise WireError("after is not a sequence of this body")
