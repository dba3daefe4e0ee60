"""Limits how much of a bridge the requests of one grant and of one owner may use at once."""

from __future__ import annotations

import sys

from broker_plane.plane.fairness.shares import Shares

_KEPT_BACK = 128
"""File descriptors for everything but requests: NATS, files, probes."""

_MOST_CONNECTIONS = 8192
_STREAMS_OF_A_LIVE_GRANT = 8
"""A live stream has one reader, which may reconnect before the bridge notices that its connection is lost."""


class Admission:
    """The shares of one bridge: half of its connections per grant, three quarters per owner."""

    def __init__(self) -> None:
        most = _most_connections()
        self.requests = Shares(most, owner=most * 3 // 4, grant=most // 2, waiting=0)
        """Requests of a grant that are not answered yet."""
        self.streams = Shares(most // 2, owner=most * 3 // 8, grant=most // 4, waiting=0)
        """Endless answers with a feed's events, over SSE and WebSocket."""
        self.live = Shares(most // 2, owner=most * 3 // 8, grant=_STREAMS_OF_A_LIVE_GRANT, waiting=0)


def _most_connections() -> int:
    if sys.platform == "win32":
        return _MOST_CONNECTIONS
    import resource

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return max(_KEPT_BACK, min(_MOST_CONNECTIONS, soft - _KEPT_BACK))
