"""Names of durables, which keep a subscriber's position. Pure, and apart from feeds.py: a supervisor imports little."""

from __future__ import annotations

import re

from broker_plane.errors import WireError
from broker_plane.wire.urls import quoted

FEEDS = "BP_FEEDS"
"""Event ids begin with it (SEP-3415), whatever the prefix of the plane is."""

GUESTS_DURABLE = "feeds"
"""What a subscriber calls its durable whose permissions somebody must have written down before (rulings.md 6)."""

_DURABLE = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


def parse_durable(text: str) -> str:
    """The name under which a subscriber's position is kept.

    Raises:
        WireError: it is none.
    """
    if not _DURABLE.match(text):
        raise WireError(f"{quoted(text)} is no durable: 1 to 64 characters of A-Z, a-z, 0-9, _ and -")
    return text


def guest_durable(asker: str, durable: str) -> str:
    """The name in the broker of what `asker`, who has a grant and no rights, calls `durable` (rulings.md 6)."""
    return f"{asker}_{durable}"
