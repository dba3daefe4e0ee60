"""The grant: a sealed, expiring permission for one body. It is the presigned part of URL and subject.

Layout, 60 bytes, 80 characters of base64url (architecture.md, "Presigned subjects"; rulings.md 8):

    version 1 | key id 3 | kind 1 | body id 16 | grant id 16 | expiry 4 | uses 2 | flags 1 | HMAC-SHA256/128 16

What is compared is the encoded text: decoding first would accept altered last characters of a base64 text whose
length is no multiple of four. All state is keyed on the grant id, never on the text.
"""

from __future__ import annotations

import hmac
import re
import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from hashlib import sha256
from uuid import UUID

from broker_plane.errors import GrantRefusedError
from broker_plane.wire.names import BodyId, decode_id, encode_id

VERSION = 1
_LAYOUT = struct.Struct(">B3sB16s16sIHB")
_TAG_BYTES = 16
_TEXT = re.compile(r"[A-Za-z0-9_-]{80}\Z")
MAX_TEXT = 1_024
"""Characters of a grant with its caveats; without them it has 80 (rulings.md 7)."""


class Kind(IntEnum):
    """What a grant is for. An unknown kind refuses."""

    BODY = 1


class Flag(IntFlag):
    """`RECORDED`: a state entry must exist; where it is lost, nothing opens (rulings.md 8)."""

    NONE = 0
    RECORDED = 1


@dataclass(frozen=True, slots=True)
class Key:
    """One sealing key. Its id is public and derived, so it can be neither chosen nor confused."""

    secret: bytes

    @property
    def id(self) -> bytes:
        return sha256(b"broker-plane key id" + self.secret).digest()[:3]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a seal vouches for. `expires` is in whole unix seconds; `uses` 0 is unlimited."""

    body: BodyId
    grant_id: bytes
    expires: int
    uses: int = 1
    kind: Kind = Kind.BODY
    flags: Flag = Flag.NONE

    @property
    def id(self) -> str:
        return self.grant_id.hex()

    def live(self, now: float) -> bool:
        return now < self.expires


def seal(grant: Grant, key: Key) -> str:
    """The text of `grant` under `key`: 80 characters."""
    head = _LAYOUT.pack(
        VERSION,
        key.id,
        grant.kind,
        decode_id(grant.body),
        grant.grant_id,
        grant.expires,
        grant.uses,
        grant.flags,
    )
    return encode_id(head + _tag(head, key))


def key_id_of(text: str) -> bytes:
    """The key that `text` names.

    Raises:
        GrantRefusedError: the text has not the form of a grant of a known version.
    """
    if not _TEXT.match(text):
        raise GrantRefusedError("no grant's form")
    raw = decode_id(text)
    if raw[0] != VERSION:
        raise GrantRefusedError(f"version {raw[0]}")
    return raw[1:4]


def is_grant(text: str) -> bool:
    """Whether `text` has the form of a grant; says nothing about its seal."""
    try:
        key_id_of(text)
    except GrantRefusedError:
        return False
    return True


def transfer_id_of(text: str) -> str:
    """The grant id as the UUID that SEP-2433 calls `transfer_id`; nothing here is verified."""
    key_id_of(text)
    return str(UUID(bytes=_LAYOUT.unpack(decode_id(text)[: _LAYOUT.size])[4]))


def uses_of(text: str) -> int:
    """The uses that a grant says it has, for its holder; nothing here is verified."""
    key_id_of(text)
    uses: int = _LAYOUT.unpack(decode_id(text)[: _LAYOUT.size])[6]
    return uses


def unseal(text: str, key: Key) -> Grant:
    """The grant that `key` sealed into `text`; its expiry is not looked at.

    Raises:
        GrantRefusedError: any other text, with the same message whatever is wrong.
    """
    if key_id_of(text) != key.id:
        raise GrantRefusedError("another key")
    head = decode_id(text)[: _LAYOUT.size]
    if not hmac.compare_digest(encode_id(head + _tag(head, key)), text):
        raise GrantRefusedError("seal")
    _, _, kind, body, grant_id, expires, uses, flags = _LAYOUT.unpack(head)
    if kind not in Kind.__members__.values() or flags & ~Flag.RECORDED:
        raise GrantRefusedError("kind or flag of a later version")
    return Grant(
        body=BodyId(encode_id(body)),
        grant_id=grant_id,
        expires=expires,
        uses=uses,
        kind=Kind(kind),
        flags=Flag(flags),
    )


def _tag(head: bytes, key: Key) -> bytes:
    return hmac.digest(key.secret, head, "sha256")[:_TAG_BYTES]
