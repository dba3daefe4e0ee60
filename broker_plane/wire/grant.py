"""The grant: a sealed, expiring permission for one body. It is the presigned part of a URL or a subject. Pure.

Layout, base64url (docs/reference/wire-protocol.md#presigned-subjects); without caveats 60 bytes, 80 characters:

    head   = version 1 | key id 3 | kind 1 | body id 16 | grant id 16 | expiry 4 | uses 2 | flags 1
    grant  = head | caveat* | tag 16
    tag(0) = HMAC-SHA256/128(key, head)        tag(n) = HMAC-SHA256/128(tag(n - 1), caveat n)

The tags are chained as in a macaroon: a grant contains only the last one, so holders can add caveats (attenuation) but
cannot remove any.

The encoded texts are compared: decoding first would accept altered last characters of a base64 text whose length is not
a multiple of four. All state is keyed on the grant id, never on the text.
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

from broker_plane.errors import ForbiddenError, GrantRefusedError, TooLargeError, WireError
from broker_plane.wire.caveats import Caveat, Columns, Expires, Uses, decode_caveat, encode_caveat, split_caveats
from broker_plane.wire.names import BodyId, decode_id, encode_id
from broker_plane.wire.scope import EVERYTHING, NO_INTENT, NOBODY, Scope, check_shown, scope_after

VERSION = 1
_LAYOUT = struct.Struct(">B3sB16s16sIHB")
_UNSEALED = 1024
"""Size of the cache of unsealed grants: each window of a pull sends the same text. Refused texts are not cached."""

_TAG_BYTES = 16
MAX_TEXT = 1_024
"""Maximum length of a grant in characters; without caveats it has 80 (docs/decisions/0027)."""

_TEXT = re.compile(rf"[A-Za-z0-9_-]{{80,{MAX_TEXT}}}\Z")


class Kind(IntEnum):
    """The kinds of grants. A grant of an unknown kind is refused."""

    BODY = 1
    FEED = 2
    """The body id is the feed's id; uses are not counted."""
    STREAM = 3
    """The body id is the live stream's id; uses are not counted."""
    UPLOAD = 4
    """The body id is the one that the upload will have; `uses` is for the grant that the completed upload returns."""
    SESSION = 5
    """The body id is the session's id; uses are not counted. Its role, intent and participant are caveats."""


class Flag(IntFlag):
    """`RECORDED`: a state entry must exist; if it is lost, the grant is refused (docs/decisions/0028).

    `COLLECTED`: its id ends in its number among all grants of its body, which is deleted after the last of them.
    """

    NONE = 0
    RECORDED = 1
    COLLECTED = 2


@dataclass(frozen=True, slots=True)
class Key:
    """One sealing key. `id` is public and derived from the secret, so that it cannot be chosen or confused."""

    secret: bytes

    @property
    def id(self) -> bytes:
        return sha256(b"broker-plane key id" + self.secret).digest()[:3]


@dataclass(frozen=True, slots=True)
class Counter:
    """One counter of a grant's uses: that of the root, whose chain is empty, or of a caveat, by its tag in hex."""

    chain: str
    uses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The content of a grant. `expires` is in whole unix seconds, the earliest of the chain.

    `uses` is the root's, 0 for unlimited; `narrowed_uses` has the separate counters of caveats.
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
    """The root's own expiry, if a caveat ends this grant earlier."""
    text_id: str = field(default="", compare=False)
    """Identifies the text of the grant: the end of its tag, as 16 characters of hex."""

    @property
    def id(self) -> str:
        return self.grant_id.hex()

    @property
    def counters(self) -> tuple[Counter, ...]:
        """Every counter of this grant; empty if its use is unlimited."""
        return ((Counter("", self.uses),) if self.uses else ()) + self.narrowed_uses

    @property
    def remembered_until(self) -> int:
        """The expiry of the root: the state entry is kept until then, whichever holder writes it."""
        return self.expires if self.root_expires is None else self.root_expires

    def live(self, now: float) -> bool:
        return now < self.expires


def seal(grant: Grant, key: Key) -> str:
    """Seal `grant` with `key`: 80 characters. `narrow` adds caveats, as any holder can."""
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
    """Attenuate the grant `text` by `caveats`, each of which can only reduce what the grant shows.

    This needs neither a key nor the network. It does not verify the seal: narrowing a forged grant gives a forged
    grant.

    Raises:
        GrantRefusedError: `text` does not have the form of a grant of a known version.
        SelectorError: a caveat is malformed, or names a column that `text` does not show.
        TooLargeError: the result would be longer than a grant may be.
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
    """The id of the key that sealed `text`, as it claims.

    Raises:
        GrantRefusedError: the text does not have the form of a grant of a known version.
    """
    return _raw(text)[1:4]


def claimed_id(text: str) -> str:
    """The grant id that `text` claims, in hex; unverified. Raises as `key_id_of`."""
    return _raw(text)[21:37].hex()


_SUBJECT = re.compile(r"\A[a-z0-9]{1,16}\.(?:pull|say\.[a-z]{1,8})\.")
"""What a presigned subject begins with: the prefix of its plane, which may not be ours."""


def is_grant(text: str) -> bool:
    """Whether `text` has the form of a grant; the seal is not verified."""
    try:
        key_id_of(text)
    except GrantRefusedError:
        return False
    return True


def grant_of(address: str) -> str:
    """The grant in a `resource_url` or a presigned subject, or the text itself.

    Raises:
        WireError: the address contains no grant.
    """
    text = _SUBJECT.sub("", address.strip()).rstrip("/").rpartition("/")[2]
    if not is_grant(text):
        raise WireError("This contains no grant; pass on the resource_url or the subject as it was given")
    return text


def check_scope(grant: Grant) -> None:
    """Raise ForbiddenError if the grant has a caveat for another kind of grant, or two that contradict each other."""
    scope = grant.scope
    if grant.kind is not Kind.SESSION:
        if scope.limits_session:
            raise ForbiddenError("Only the grant of a session can be narrowed by role, intent or participant")
        return
    if scope.limits_body or grant.counters:
        raise ForbiddenError(
            "The grant of a session can be narrowed by role, intent, participant, expiry and audience only"
        )
    for name, value, nothing in (("intents", scope.intent, NO_INTENT), ("participants", scope.participant, NOBODY)):
        if value == nothing:
            raise ForbiddenError(f"This grant was narrowed to two different {name}, so that it opens nothing")


def transfer_id_of(text: str) -> str:
    """The grant id as the UUID that SEP-2433 calls `transfer_id`; unverified."""
    return str(UUID(bytes=peek(text).grant_id))


def grant_id_of(text: str) -> str | None:
    """The grant id in `text`, which has 32 characters of hex or is a UUID; None for anything else."""
    try:
        return UUID(text.strip()).hex
    except ValueError:
        return None


def uses_of(text: str) -> int:
    """The number of deliveries that a grant claims, for its holder; 0 is unlimited; unverified."""
    return min((counter.uses for counter in peek(text).counters), default=0)


@lru_cache(_UNSEALED)
def peek(text: str) -> Grant:
    """The content that `text` claims, for its holder; unverified.

    Raises:
        GrantRefusedError: the text does not have the form of a grant that this version knows.
        SelectorError: a caveat names a column that is not shown before it.
    """
    parts = _split(text)
    return _grant_of(parts, [b""] * len(parts.encoded))


@lru_cache(_UNSEALED)
def unseal(text: str, key: Key) -> Grant:
    """Verify that `key` sealed `text`, and return the grant. The expiry is not checked.

    Raises:
        GrantRefusedError: any other text; the message does not say what is wrong.
        SelectorError: the seal is valid, and a caveat names a column that is not shown before it.
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
    """A grant split into its parts. Holders know only the last tag."""

    head: bytes
    encoded: list[bytes]
    tag: bytes

    def caveats(self) -> list[Caveat]:
        return [decode_caveat(raw) for raw in self.encoded]


def _split(text: str) -> _Parts:
    raw = _raw(text)
    body = raw[_LAYOUT.size : -_TAG_BYTES]
    return _Parts(raw[: _LAYOUT.size], list(split_caveats(body)), raw[-_TAG_BYTES:])


@lru_cache(_UNSEALED)
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
