"""The broker's traffic: bytes sent by nats-server, and bytes read and sent by the bridge, by their own counters."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from urllib.request import urlopen

from broker_plane import Plane, Settings
from broker_plane.testing.embedded import find, sent_bytes

from .stage import DemoError

_SECONDS = 5.0


@dataclass(frozen=True)
class Traffic:
    """Counts since both were started. `sent_bytes` is None if NATS does not tell (no user `probe`)."""

    sent_bytes: int | None
    """Sent by nats-server to all its clients: the bridge and pullers over NATS."""
    http_bytes: int
    """Sent by the bridge to pullers over HTTP."""
    bridge_reads: int
    """How often the bridge read a body, or a part of one, from NATS."""
    cache_hits: int
    """How often it had that in its cache, or was already reading it."""

    def __sub__(self, before: Traffic) -> Traffic:
        known = self.sent_bytes is not None and before.sent_bytes is not None
        return Traffic(
            (self.sent_bytes or 0) - (before.sent_bytes or 0) if known else None,
            self.http_bytes - before.http_bytes,
            self.bridge_reads - before.bridge_reads,
            self.cache_hits - before.cache_hits,
        )


def broker_of(settings: Settings) -> tuple[str, str]:
    """Return the URL of NATS for these settings, and the password of its user `probe`, if that is known."""
    running = None if settings.nats_url else find(settings.data_dir)
    if running is None:
        return settings.nats_url, settings.nats_probe_password.get_secret_value()
    return running.nats_url, running.probe_password


async def traffic(plane: Plane) -> Traffic:
    """Return the current counts."""
    url, password = broker_of(plane.settings)
    metrics = await asyncio.to_thread(_metrics, plane.bridge_url)
    return Traffic(
        await sent_bytes(url, password, timeout=_SECONDS),
        _count(metrics, 'body_bytes_total{way="http"}'),
        *(_count(metrics, name) for name in ("cache_misses_total", "cache_hits_total")),
    )


def _metrics(bridge: str) -> str:
    try:
        with urlopen(f"{bridge}/metrics", timeout=_SECONDS) as answer:  # noqa: S310 - our own bridge
            text: str = answer.read().decode()
    except (OSError, ValueError) as error:
        raise DemoError(f"There is no bridge at {bridge}, which BROKER_PLANE_BRIDGE_URL names: {error}") from error
    return text


def _count(metrics: str, name: str) -> int:
    found = re.search(rf"^broker_plane_{re.escape(name)} (\d+)$", metrics, re.MULTILINE)
    return int(found[1]) if found else 0
