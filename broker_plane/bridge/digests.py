"""Verifies the content of a request against its Content-Digest (RFC 9530)."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from broker_plane.errors import ContentDigestError


async def checked(pieces: AsyncGenerator[bytes, None], digests: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
    """The same pieces. Raises ContentDigestError after the last one where they have not these digests."""
    running = {name: hashlib.new(name.replace("-", "")) for name in digests}
    async with aclosing(pieces):
        async for piece in pieces:
            for digest in running.values():
                digest.update(piece)
            yield piece
    if any(running[name].hexdigest() != wanted for name, wanted in digests.items()):
        raise ContentDigestError("The content is not what its Content-Digest says; nothing of it was kept")
