"""A published body as a transfer descriptor: what a tool hands to an agent in place of the bytes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from broker_plane.runtime.connect import Published
from broker_plane.wire.descriptor import V1, parse_descriptor


def described(published: Published) -> dict[str, Any]:
    """The descriptor (SEP-2433) of a body over HTTP, as JSON."""
    body = published.body
    return parse_descriptor(
        {
            "$schema": V1,
            "transfer_id": published.transfer_id,
            "mode": "fetch",
            "protocol": published.resource_url.partition(":")[0],
            "endpoint": published.resource_url,
            "format": body.media_type,
            "size_hint": body.size,
            "checksum": f"sha256:{body.digest}",
            "expires": datetime.fromtimestamp(body.expires, UTC),
        }
    ).to_wire()
