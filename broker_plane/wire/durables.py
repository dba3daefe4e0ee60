"""Names of durables. Pure, and apart from feeds.py because the supervisor must import little."""

from __future__ import annotations

import re

from broker_plane.errors import WireError
from broker_plane.wire.urls import quoted

FEEDS = "BP_FEEDS"
"""Event ids begin with it (SEP-3415), whatever the prefix of the plane is."""

GUESTS_DURABLE = "feeds"
"""The durable that a guest may create: permissions name it, so it must be known in advance (decision 0026)."""

_DURABLE = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


def parse_durable(text: str) -> str:
    """Return the name of a durable.

    Raises:
        WireError: invalid name.
    """
    if not _DURABLE.match(text):
        raise WireError(f"Invalid durable name {quoted(text)}: 1 to 64 characters of A-Z, a-z, 0-9, _ and -")
    return text


def guest_durable(puller: str, durable: str) -> str:
    """Return the broker's name of the durable that `puller`, a process without rights of its own, calls `durable`."""
    return f"{puller}_{durable}"
