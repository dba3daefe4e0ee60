"""Knows our own bridges: the one in the settings, the embedded one, and those that this process started."""

from __future__ import annotations

from contextlib import suppress

from broker_plane.client.trust import Trust, parse_hosts
from broker_plane.config import Settings
from broker_plane.embedded.broker import find
from broker_plane.errors import EmbeddedError
from broker_plane.runtime.started_bridges import STARTED


def trust_of(settings: Settings, *known: str) -> Trust:
    """Return the hosts that these settings trust; `known` are base URLs of bridges that were found already."""
    return Trust(
        parse_hosts(settings.trusted_hosts),
        frozenset(filter(None, (settings.bridge_url, _embedded(settings), *known))),
        parse_hosts(settings.token_hosts, "BROKER_PLANE_TOKEN_HOSTS"),
        STARTED.keys(),
    )


def _embedded(settings: Settings) -> str:
    with suppress(EmbeddedError):
        running = find(settings.data_dir)
        return running.bridge_url if running else ""
    return ""
