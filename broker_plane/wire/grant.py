"""The grant: a sealed, expiring permission for one body. It is the presigned part of URL and subject.

Layout, base64url (architecture.md, "Presigned subjects"; rulings.md 7, 8); without caveats 60 bytes, 80 characters:

    head   = version 1 | key id 3 | kind 1 | body id 16 | grant id 16 | expiry 4 | uses 2 | flags 1
    grant  = head | caveat* | tag 16
    tag(0) = HMAC-SHA256/128(key, head)        tag(n) = HMAC-SHA256/128(tag(n - 1), caveat n)

Only the last tag travels, so that whoever holds a grant can narrow it further, and nobody can take a caveat off.

What is compared is the encoded text: decoding first would accept altered last characters of a base64 text whose
length is no multiple of four. All state is keyed on the grant id, never on the text.
"""

from __future__ import annotations

import hmac
import re
import struct
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from functools import lru_cache, reduce
from hashlib import sha256
from itertools import accumulate
from uuid import UUID

from broker_plane.errors import GrantRefusedError, TooLargeError, WireError
from broker_plane.wire.caveats import Caveat, Columns, Expires, Uses, decode_caveat, encode_caveat, split_caveats
from broker_plane.wire.names import BodyId, decode_id, encode_id
from broker_plane.wire.scope import EVERYTHING, Scope, check_shown, scope_after

VERSION = 1
_LAYOUT = struct.Struct(">B3sB16s16sIHB")
_UNSEALED = 1024
"""Grants that are not unsealed again: each window of a pull brings the same text. One that is refused is not kept."""

_TAG_BYTES = 16
MAX_TEXT = 1_024
"""Characters of a grant with its caveats; without them it has 80 (rulings.md 7)."""

_TEXT = re.compile(rf"[A-Za-z0-9_-]{{80,{MAX_TEXT}}}\Z")


class Kind(IntEnum):
    """What a grant is for. An unknown kind refuses."""

    BODY = 1
    FEED = 2
    """In the body's place stands the feed's id; it counts no uses."""
    STREAM = 3
    """Of a live stream, whose id stands in the body's place; it counts no uses."""
    UPLOAD = 4
    """In the body's place stands the id of the body that the upload becomes; `uses` are those of that one's grant."""


class Flag(IntFlag):
    """`RECORDED`: a state entry must exist; where it is lost, nothing opens (rulings.md 8).

    `COLLECTED`: its id ends in its place among all grants of its body, which is freed after the last of them.
    """

    NONE = 0
    RECORDED = 1
    COLLECTED = 2


@dataclass(frozen=True, slots=True)
class Key:
    """One sealing key. Its id is public and derived, so it can be neither chosen nor confused."""

    secret: bytes

    @property
    def id(self) -> bytes:
        return sha256(b"broker-plane key id" + self.secret).digest()[:3]


@dataclass(frozen=True, slots=True)
class Counter:
    """Something that counts `uses` of a grant: its root, whose chain is empty, or a caveat, by its tag in hex."""

    chain: str
    uses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a seal vouches for. `expires` is in whole unix seconds, the earliest of the chain.

    `uses` are the root's, 0 is unlimited; `narrowed_uses` are those of caveats, each of which counts by itself.
    """

    body: BodyId
    grant_id: bytes
    expires: int
    uses: int = 1
    kind: Kind = Kind.BODY
    flags: Flag = Flag.NONE
    scope: Scope = EVERYTHING
    narrowed_uses: tuple[Counter, ...] = ()
    root_expires: int | None = None
    """The root's own expiry, where a caveat ends this grant earlier."""
    text_id: str = field(default="", compare=False)
    """Identifies the text that said all this: the end of its tag, in 16 characters of hex."""

    @property
    def id(self) -> str:
        return self.grant_id.hex()

    @property
    def counters(self) -> tuple[Counter, ...]:
        """Everything that counts a use of this grant; nothing where it is unlimited."""
        return ((Counter("", self.uses),) if self.uses else ()) + self.narrowed_uses

    @property
    def remembered_until(self) -> int:
        """When nothing of the root lives any more: its state is kept so long, whoever of its holders writes it."""
        return self.expires if self.root_expires is None else self.root_expires

    def live(self, now: float) -> bool:
        return now < self.expires


def seal(grant: Grant, key: Key) -> str:
    """The text of `grant` under `key`: 80 characters. Caveats are added by `narrow`, as any holder does it."""
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
    return encode_id(head + _tag(key.secret, head))


def narrow(text: str, *caveats: Caveat) -> str:
    """The text of a grant that shows what `text` shows, and after each of `caveats` no more than that.

    It needs no key and asks nobody; a text that opens nothing gives another one.

    Raises:
        GrantRefusedError: `text` has not the form of a grant of a known version.
        SelectorError: a caveat is malformed, or names a column that `text` does not show.
        TooLargeError: it would be longer than a grant may be.
    """
    parts = _split(text)
    scope = scope_after(parts.caveats())
    for caveat in caveats:
        if isinstance(caveat, Columns):
            for name in caveat.names:
                check_shown(name, scope.columns)
        scope = scope.narrowed(caveat)
    added = [encode_caveat(caveat) for caveat in caveats]
    narrowed = encode_id(b"".join((parts.head, *parts.encoded, *added, reduce(_tag, added, parts.tag))))
    if len(narrowed) > MAX_TEXT:
        raise TooLargeError(
            f"The narrowed grant would have {len(narrowed)} characters; the most is {MAX_TEXT}. "
            "Name rows as ranges or by where, and fewer columns"
        )
    return narrowed


def key_id_of(text: str) -> bytes:
    """The key that `text` names.

    Raises:
        GrantRefusedError: the text has not the form of a grant of a known version.
    """
    return _raw(text)[1:4]


def claimed_id(text: str) -> str:
    """The grant id that `text` claims, in hex; nothing here is verified. Raises as `key_id_of`."""
    return _raw(text)[21:37].hex()


_SUBJECT = re.compile(r"\A[a-z0-9]{1,16}\.pull\.")
"""What a presigned subject begins with: the prefix of its plane, which may not be ours."""


def is_grant(text: str) -> bool:
    """Whether `text` has the form of a grant; says nothing about its seal."""
    try:
        key_id_of(text)
    except GrantRefusedError:
        return False
    return True


def grant_of(address: str) -> str:
    """The grant in a `resource_url`, a presigned subject, or alone.

    Raises:
        WireError: there is none.
    """
    text = _SUBJECT.sub("", address.strip()).rstrip("/").rpartition("/")[2]
    if not is_grant(text):
        raise WireError("This holds no grant; pass on the resource_url or the subject as it was given")
    return text


def transfer_id_of(text: str) -> str:
    """The grant id as the UUID that SEP-2433 calls `transfer_id`; nothing here is verified."""
    return str(UUID(bytes=peek(text).grant_id))


def grant_id_of(text: str) -> str | None:
    """The grant id that `text` is, as 32 characters of hex or as a UUID; None where it is something else."""
    try:
        return UUID(text.strip()).hex
    except ValueError:
        return None


def uses_of(text: str) -> int:
    """The deliveries that a grant says it has, for its holder; 0 is unlimited; nothing here is verified."""
    return min((counter.uses for counter in peek(text).counters), default=0)


def peek(text: str) -> Grant:
    """What `text` says, for its holder; nothing here is verified.

    Raises:
        GrantRefusedError: the text has not the form of a grant that this version knows.
        SelectorError: a caveat names a column that is not shown before it.
    """
    parts = _split(text)
    return _grant_of(parts, [b""] * len(parts.encoded))


@lru_cache(_UNSEALED)
def unseal(text: str, key: Key) -> Grant:
    """The grant that `key` sealed into `text`; its expiry is not looked at.

    Raises:
        GrantRefusedError: any other text, with the same message whatever is wrong.
        SelectorError: the seal holds, and a caveat names a column that is not shown before it.
    """
    parts = _split(text)
    if parts.head[1:4] != key.id:
        raise GrantRefusedError("another key")
    root, *tags = accumulate(parts.encoded, _tag, initial=_tag(key.secret, parts.head))
    last = tags[-1] if tags else root
    if not hmac.compare_digest(encode_id(b"".join((parts.head, *parts.encoded, last))), text):
        raise GrantRefusedError("seal")
    return _grant_of(parts, tags)


@dataclass(frozen=True, slots=True)
class _Parts:
    """A grant taken apart; the holder of one knows its last tag only."""

    head: bytes
    encoded: list[bytes]
    tag: bytes

    def caveats(self) -> list[Caveat]:
        return [decode_caveat(raw) for raw in self.encoded]


def _split(text: str) -> _Parts:
    raw = _raw(text)
    body = raw[_LAYOUT.size : -_TAG_BYTES]
    return _Parts(raw[: _LAYOUT.size], list(split_caveats(body)), raw[-_TAG_BYTES:])


def _raw(text: str) -> bytes:
    if not _TEXT.match(text) or len(text) % 4 == 1:
        raise GrantRefusedError("no grant's form")
    raw = decode_id(text)
    if raw[0] != VERSION:
        raise GrantRefusedError(f"version {raw[0]}")
    return raw


def _grant_of(parts: _Parts, tags: list[bytes]) -> Grant:
    _, _, kind, body, grant_id, expires, uses, flags = _LAYOUT.unpack(parts.head)
    if kind not in Kind.__members__.values() or flags & ~(Flag.RECORDED | Flag.COLLECTED):
        raise GrantRefusedError("kind or flag of a later version")
    caveats = parts.caveats()
    earliest = min([expires, *(caveat.at for caveat in caveats if isinstance(caveat, Expires))])
    return Grant(
        body=BodyId(encode_id(body)),
        grant_id=grant_id,
        expires=earliest,
        root_expires=expires if earliest < expires else None,
        uses=uses,
        kind=Kind(kind),
        flags=Flag(flags),
        scope=scope_after(caveats),
        narrowed_uses=tuple(
            Counter(tag.hex(), caveat.count)
            for caveat, tag in zip(caveats, tags, strict=True)
            if isinstance(caveat, Uses)
        ),
        text_id=parts.tag[-8:].hex(),
    )


def _tag(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")[:_TAG_BYTES]
