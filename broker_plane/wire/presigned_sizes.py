"""Sizes of the messages of presigned subjects, in bytes."""

from __future__ import annotations

IN_ANSWER_BYTES = 512 * 1024
"""A body, or a cut of one, of at most this size is in the answer itself."""

MOST_REQUEST_BYTES = 5 << 20
"""Room for a million row ids; nothing else in a request is large."""
