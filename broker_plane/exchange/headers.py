"""The headers of requests and messages of exchanges over NATS. Pure."""

from __future__ import annotations

SEQ = "Bp-Seq"
"""The number of a message within its exchange, from 1."""

LAST = "Bp-Last"
"""`1` on the answer."""

PART = "Bp-Part"
"""`i/n`, from 1: part i of a message that is too large for one message of NATS."""

REPLY = "Bp-Reply"
"""The inbox for live messages."""

DEADLINE = "Bp-Deadline"
"""Until when the caller waits, in unix seconds."""

DIGEST = "Bp-Request"
"""The digest of a request, without what differs between two attempts of the same call."""

CANCELLED = "Bp-Cancelled"
"""`1` on a stored message that takes the place of a request: its caller has cancelled it."""

SESSION = "Bp-Session"
"""`<instance>.<session>`, on the answer to `initialize`."""

ALIVE = "Bp-Alive"
"""`1` on an empty message: the request still runs."""

WRITER = "Bp-Writer"
"""The process that wrote a stored message."""
