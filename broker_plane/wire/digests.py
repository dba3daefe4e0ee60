"""Digest fields (RFC 9530), such as Repr-Digest and Content-Digest: parsed and written in one place. Pure."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode

from broker_plane.errors import WireError

_MEMBER = re.compile(
    r"[ \t]*(?P<name>[a-z*][a-z0-9_.*-]*)=:(?P<value>[A-Za-z0-9+/]*={0,2}):"
    r'(?:;[ ]*[a-z*][a-z0-9_.*-]*(?:=[^",;]*)?)*[ \t]*'
)
_SIZES = {"sha-256": 32, "sha-512": 64}
"""Digest lengths in bytes of the algorithms that are checked; other registered algorithms are ignored."""


def parse_digests(value: str, field: str = "", *, strict: bool) -> dict[str, str]:
    """The digests in hex by algorithm; `value` is a dictionary of byte sequences (RFC 9651, section 3.2).

    A server parses requests with `strict`, because ignoring a digest would skip a check that was requested. A client
    parses responses without it: members that cannot be read are left out.

    Raises:
        WireError: with `strict`, `value` is not such a dictionary, or a digest has the wrong length for its algorithm.
    """
    found: dict[str, str] = {}
    for part in value.split(",") if value.strip(" \t") else ():
        member = _MEMBER.fullmatch(part)
        raw = _decoded(member["value"]) if member else None
        if member is None or raw is None or len(raw) != _SIZES.get(member["name"], len(raw)):
            if strict:
                raise WireError(f"{field.title()} is a list such as sha-256=:<base64 of 32 bytes>:")
        elif member["name"] in _SIZES:
            found[member["name"]] = raw.hex()
    return found


def sha256_of(value: str) -> str:
    """The SHA-256 in hex that a response's digest field gives; empty if there is none."""
    return parse_digests(value, strict=False).get("sha-256", "")


def digest_field(sha256: str) -> str:
    """The value of a digest field for a SHA-256 in hex."""
    return f"sha-256=:{b64encode(bytes.fromhex(sha256)).decode()}:"


def _decoded(text: str) -> bytes | None:
    try:
        return b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return None
