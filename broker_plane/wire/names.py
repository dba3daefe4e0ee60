"""Ids, owners, subjects and buckets. Subjects are only built from ids that were checked. Pure."""

from __future__ import annotations

import re
from base64 import b32encode, urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import NewType

from broker_plane.errors import WireError

BodyId = NewType("BodyId", str)
"""22 characters of base64url: 16 random bytes. A subject token and an object name, never a secret."""

EXTENSION = "io.broker-plane/transfer"
"""Our prefix in MCP `_meta` and capabilities."""

ROW_ID = "_row_id"
RESOURCE_SCHEME = "plane"

GUEST = "GUEST"
"""The NATS account of guests (docs/accounts.md)."""

_BODY_ID = re.compile(r"[A-Za-z0-9_-]{22}\Z")
_OWNER = re.compile(r"[a-z0-9_-]{1,32}\Z")
_ASKER = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


def encode_id(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def argument_id(raw: bytes) -> str:
    """The id of random bytes, less the first bit: it never begins with a hyphen, so commands take it as an argument."""
    return encode_id(bytes([raw[0] & 0x7F]) + raw[1:])


def decode_id(text: str) -> bytes:
    """The bytes of a base64url text without padding; the caller has checked its alphabet and length."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def body_id(raw: bytes) -> BodyId:
    """The body id of 16 random bytes."""
    return BodyId(encode_id(raw))


def table_id(text: BodyId) -> BodyId:
    """The id of the table that was published beside the text with the id `text`.

    It is derived, so that a reader of the text finds the table, and nothing has to be stored about it.
    """
    return body_id(sha256(b"the table in the text " + text.encode()).digest()[:16])


def parse_body_id(text: str) -> BodyId:
    if not _BODY_ID.match(text) or encode_id(decode_id(text)) != text:
        raise WireError("This is not a body id: 22 characters of base64url, as `publish` and `ls` print them")
    return BodyId(text)


def is_body_id(text: str) -> bool:
    """Whether `text` has the form of a body id; a session's id has the same."""
    return _BODY_ID.match(text) is not None


def parse_owner(text: str) -> str:
    if not is_owner(text):
        raise WireError(f"{text!r} is not an owner: use 1 to 32 characters of a-z, 0-9, _ and -")
    return text


def is_owner(text: str) -> bool:
    return _OWNER.match(text) is not None


def parse_asker(text: str) -> str:
    """The name of a puller: one subject token of `bp.pull.<grant>.<asker>` and `bp.dlv.<asker>.<n>`."""
    if not _ASKER.match(text):
        raise WireError(f"{text!r} is not a puller's name: use 1 to 64 characters of A-Z, a-z, 0-9, _ and -")
    return text


def asker_of(grant: str) -> str:
    """The name of a puller that connects with only this grant: 26 characters, derived by both sides
    (docs/decisions/0023).

    Derived from the whole text, because grants narrowed from each other share their grant id.
    """
    return b32encode(sha256(grant.encode()).digest()[:16]).decode().rstrip("=").lower()


def asker_inbox(asker: str) -> str:
    """The prefix of the subjects on which only `asker` receives answers."""
    return f"_INBOX_{asker}"


def bucket_of(owner: str) -> str:
    return f"bp_{owner}"


def object_stream(owner: str) -> str:
    """ADR-20, section "Stream configuration and subjects"."""
    return f"OBJ_{bucket_of(owner)}"


def chunk_subject(owner: str, body: BodyId) -> str:
    return f"$O.{bucket_of(owner)}.C.{body}"


def tail_subject(owner: str, body: BodyId) -> str:
    """The bytes of an upload after its last whole chunk."""
    return f"{chunk_subject(owner, body)}.tail"


def meta_subject(owner: str, body: BodyId) -> str:
    """ADR-20: the object's name, base64url with padding, is the last token."""
    return f"$O.{bucket_of(owner)}.M.{urlsafe_b64encode(body.encode()).decode()}"


def pull_subject(grant: str) -> str:
    """The presigned subject; the puller appends its own name."""
    return f"bp.pull.{grant}"


def confirm_subject(grant: str) -> str:
    return f"bp.confirm.{grant}"


def delivery_subject(asker: str, number: str) -> str:
    return f"bp.dlv.{asker}.{number}"
