"""Announcements as tests make them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from broker_plane.registry.announcement import AgentAnnouncement, announcement_of, parse_profile

INSTANCE = "A" * 22
AT = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


def served(protocol: str, endpoint: str, *formats: str, modes: tuple[str, ...] = ("fetch",)) -> dict[str, Any]:
    return {"protocol_id": protocol, "endpoint": endpoint, "formats": list(formats), "modes": list(modes)}


def announced(agent_id: str, *serves: dict[str, Any], **members: Any) -> AgentAnnouncement:
    profile = parse_profile({"agent_id": agent_id, "serves": list(serves), **members})
    return announcement_of(profile, instance=INSTANCE, announced=AT, seen=AT)
