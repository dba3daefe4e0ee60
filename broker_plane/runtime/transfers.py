"""`plane.transfers`: fetches and pushes by descriptor (SEP-2433), within what the settings allow (docs/handlers.md)."""

from __future__ import annotations

import os
from pathlib import Path

from broker_plane.client.addresses import parse_networks
from broker_plane.client.upload import Uploader
from broker_plane.config import Settings
from broker_plane.runtime.pulls import PullRouter
from broker_plane.transfer.fetch import Learned, Transfers
from broker_plane.transfer.reach import Reach


def transfers(settings: Settings, pulls: PullRouter, uploader: Uploader, learned: Learned | None = None) -> Transfers:
    """Return the transfers that these settings allow; `learned` carries out what no handler knows."""
    reach = Reach(
        trust=pulls.http.trust,
        networks=parse_networks(settings.transfer_networks, "BROKER_PLANE_TRANSFER_NETWORKS"),
        directories=[Path(text) for text in settings.transfer_directories.split(os.pathsep) if text],
    )
    return Transfers(
        reach,
        max_bytes=settings.max_body_bytes,
        unsized_bytes=settings.max_unsized_bytes,
        memory_bytes=settings.max_pull_memory_bytes,
        nats=pulls.nats,
        uploads=uploader,
        follow=pulls.follow,
        learned=learned,
        plugins=settings.handler_plugins,
    )


def uploader(settings: Settings, pulls: PullRouter) -> Uploader:
    """Return what uploads to bridges."""
    token = settings.token.get_secret_value()
    return Uploader(pulls.http.trust, timeout=settings.pull_timeout_seconds, token=token)
