"""The names that travel: ids, owners and pullers. Subjects (plane_names.py) are only built from names checked here."""

from __future__ import annotations

import re
from base64 import b32encode, urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import NewType

from broker_plane.errors import WireError

BodyId = NewType("BodyId", str)
"""22 characters of base64url: 16 random bytes. It is a subject token and an object name, and never a secret."""

EXTENSION = "io.broker-plane/transfer"
"""The one prefix of ours in MCP `_meta` and capabilities."""

ROW_ID = "_row_id"
RESOURCE_SCHEME = "plane"

GUEST = "GUEST"
"""The account of askers (docs/accounts.md)."""

_BODY_ID = re.compile(r"[A-Za-z0-9_-]{22}\Z")
_OWNER = re.compile(r"[a-z0-9_-]{1,32}\Z")
_ASKER = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


def encode_id(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode_id(text: str) -> bytes:
    """The bytes of a base64url text without padding; the caller has checked its alphabet and length."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def body_id(raw: bytes) -> BodyId:
    """The body id of 16 random bytes."""
    return BodyId(encode_id(raw))


def parse_body_id(text: str) -> BodyId:
    if not _BODY_ID.match(text) or encode_id(decode_id(text)) != text:
        raise WireError("This is no body id: 22 characters of base64url, as `publish` and `ls` print them")
    return BodyId(text)


def parse_owner(text: str) -> str:
    if not is_owner(text):
        raise WireError(f"{text!r} is no owner: 1 to 32 characters of a-z, 0-9, _ and -")
    return text


def is_owner(text: str) -> bool:
    return _OWNER.match(text) is not None


def parse_asker(text: str) -> str:
    """One subject token that may stand in `bp.pull.<grant>.<asker>` and `bp.dlv.<asker>.<n>`."""
    if not _ASKER.match(text):
        raise WireError(f"{text!r} is no asker: 1 to 64 characters of A-Z, a-z, 0-9, _ and -")
    return text


def asker_of(grant: str) -> str:
    """The name of whoever connects with nothing but this grant (rulings.md 3): 26 characters, made by both sides.

    Of the whole text, because grants that were narrowed from one another share their grant id.
    """
    return b32encode(sha256(grant.encode()).digest()[:16]).decode().rstrip("=").lower()


def asker_inbox(asker: str) -> str:
    """The prefix of the subjects on which `asker` gets answers, and nobody else does."""
    return f"_INBOX_{asker}"
