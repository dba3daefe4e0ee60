"""Publishes a text together with the table that it contains, under one URL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from broker_plane.runtime.offering import Published
from broker_plane.runtime.plane import Plane
from broker_plane.runtime.publishing import BodyOptions, BodyPublisher, order_of


async def publish_text(
    plane: Plane, text: bytes, rows: Sequence[Any], columns: Sequence[str], *, media_type: str, name: str
) -> Published:
    """Publish a text with an unlimited grant: a pull returns it byte for byte, and readers and queries see `rows`.

    Raises:
        As `Plane.publish`.
    """
    options = BodyOptions(None, "unlimited", name, media_type, None, None)
    order = order_of(plane.settings, options, columns=tuple(columns))
    publisher = BodyPublisher(plane.wiring, plane.settings, plane.bridge_url)
    return await publisher.publish_text(text, rows, order)
