"""What tests trust that start bridges and proxies on free ports: loopback, by an explicit entry."""

from __future__ import annotations

from broker_plane.client.trust import Trust

HOSTS = "127.0.0.1"
"""For BROKER_PLANE_TRUSTED_HOSTS."""

TRUSTING = Trust(hosts=frozenset({HOSTS}))
