"""For demos and tests: finds and stops this user's embedded broker, and reads how much a broker sent."""

from broker_plane.broker.urls import bare
from broker_plane.embedded.broker import find, stop
from broker_plane.storage.readiness import sent_bytes

__all__ = ["bare", "find", "sent_bytes", "stop"]
