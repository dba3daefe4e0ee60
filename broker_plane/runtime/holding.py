"""Publishes a large result as what it is, for any number of uses within its lifetime."""

from __future__ import annotations

from broker_plane.reading.held_back import RecognisedTable, kept_text
from broker_plane.runtime.arguments import UNLIMITED
from broker_plane.runtime.offering import Published
from broker_plane.runtime.plane import Plane
from broker_plane.runtime.texts import publish_text
from broker_plane.shapes.table import Opaque


async def publish_held_back(plane: Plane, found: RecognisedTable | Opaque, name: str) -> Published:
    """Publish a table, a text with the table that it contains, or content that is not a table, byte for byte.

    Raises:
        As `Plane.publish`.
    """
    if isinstance(found, Opaque):
        return await plane.publish(found.raw, name=name, media_type=found.media_type, uses=UNLIMITED)
    source = kept_text(found.table)
    if source is None:
        return await plane.publish(found.rows, name=name, uses=UNLIMITED, columns=found.columns)
    return await publish_text(plane, source.raw, found.rows, found.columns, media_type=source.media_type, name=name)
