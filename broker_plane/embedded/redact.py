"""What the supervisor takes out of its children's lines: the redactor of all rooms."""

from __future__ import annotations

from broker_plane.wire.urls import redact as redact
