"""The limits of exchanges."""

from __future__ import annotations

DEFAULT_SECONDS = 3600
"""The deadline of a request whose caller has named none, from when it was stored."""

MAX_SECONDS = 86_400
"""The latest deadline, from when a request was stored."""

KEPT_SECONDS = 600
"""How long after the deadline a request and its messages are kept, so that a caller may fetch the answer late."""

MAX_ATTEMPTS = 5
"""A request that has ended its process, or the server behind it, so many times is answered with an error."""

SUSPECT_ATTEMPTS = 3
"""From this attempt on, a request is carried out while no other such request is, so that it alone is to blame."""

ALIVE_SECONDS = 5.0
"""How often a caller learns that its request still runs."""
