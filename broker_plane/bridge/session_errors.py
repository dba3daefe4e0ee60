"""The errors of sessions as members of JSON answers and events."""

from __future__ import annotations

from typing import Any

from broker_plane.errors import BrokerPlaneError
from broker_plane.web.problems import extra_members
from broker_plane.wire.urls import redact


def error_members(error: BrokerPlaneError) -> dict[str, Any]:
    """`{code, message}`, with `retry_after` in seconds, `revision` and `diff` for errors that have them."""
    members: dict[str, Any] = {"code": error.code, "message": redact(str(error))}
    if error.retry_after is not None:
        members["retry_after"] = error.retry_after
    return members | extra_members(error)
