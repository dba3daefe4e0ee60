"""Digest fields (RFC 9530): what a request says of its content, or of the whole that it is a part of. Pure."""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from broker_plane.errors import ContentDigestError, WireError

_MEMBER = re.compile(
    r"[ \t]*(?P<name>[a-z*][a-z0-9_.*-]*)=:(?P<value>[A-Za-z0-9+/]*={0,2}):"
    r'(?:;[ ]*[a-z*][a-z0-9_.*-]*(?:=[^",;]*)?)*[ \t]*'
)
_SIZES = {"sha-256": 32, "sha-512": 64}
"""The algorithms that are checked, and the bytes of their digests; the registry's others are ignored."""


def parse_digests(headers: Mapping[str, str], field: str) -> dict[str, str]:
    """The digests, in hex by algorithm, in the header `field`: a dictionary of byte sequences (RFC 9651).

    Raises:
        WireError: it is no such dictionary, or a digest has not the length of its algorithm's. To ignore it would
            leave out a check that was asked for.
    """
    found: dict[str, str] = {}
    text = headers.get(field, "")
    for part in text.split(",") if text.strip(" \t") else ():
        member = _MEMBER.fullmatch(part)
        raw = _decoded(member["value"]) if member else None
        if member is None or raw is None or len(raw) != _SIZES.get(member["name"], len(raw)):
            raise WireError(f"{field.title()} is a list such as sha-256=:<base64 of 32 bytes>:")
        if member["name"] in _SIZES:
            found[member["name"]] = raw.hex()
    return found


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


def _decoded(text: str) -> bytes | None:
    try:
        return b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return None
