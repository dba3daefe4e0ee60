"""Checks of what a process connects to: NATS, NATS as a guest, and the bridge. Each result is one sentence."""

from __future__ import annotations

from broker_plane.config import Settings
from broker_plane.errors import BrokerPlaneError
from broker_plane.runtime.plane import Plane
from broker_plane.subjects.guests import GrantPuller, UserPuller

CHECKS = ("check_nats", "check_guest_nats", "check_bridge")
_OK, _NOT_CHECKED = "ok", "not checked: "


def is_problem(result: str | None) -> bool:
    """Whether the result of a check is a problem, in the sentence that says what to do."""
    return result is not None and result != _OK and not result.startswith(_NOT_CHECKED)


async def check_nats(plane: Plane) -> dict[str, str]:
    """Whether the users of this process can connect to NATS; those that it needs for pulling connect now.

    A plane with the role `plane` or `source` is connected already.
    """
    settings, puller = plane.settings, plane.pulls.nats
    if settings.role == "guest":
        return {"check_nats": await _connects(puller)}
    if not settings.nats_guest_url:
        return {"check_nats": _OK}
    return {"check_nats": _OK, "check_guest_nats": await _connects(puller)}


async def check_bridge(settings: Settings, url: str = "") -> dict[str, str]:
    """Whether the bridge at `url` answers, or that of the settings if `url` is empty."""
    from broker_plane.client.bridge_check import bridge_problem  # commands that only look need no HTTP client

    url = url or settings.bridge_url
    if not url:
        embedded = settings.role == "plane" and not settings.nats_url
        why = "it starts on first use" if embedded else "BROKER_PLANE_BRIDGE_URL is not set"
        return {"check_bridge": _NOT_CHECKED + why}
    advice = "start it (`broker-plane bridge`), or correct BROKER_PLANE_BRIDGE_URL"
    if not settings.bridge_url:
        advice = "see the logs in the data directory, and restart the broker (`broker-plane down`, then `up`)"
    problem = await bridge_problem(url, seconds=settings.request_timeout_seconds, advice=advice)
    return {"check_bridge": problem or _OK}


async def _connects(puller: object) -> str:
    if not isinstance(puller, UserPuller | GrantPuller):
        return _OK
    try:
        await puller.check()
    except BrokerPlaneError as error:
        return str(error)
    return _OK
