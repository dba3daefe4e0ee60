"""What the bucket of the registry has, and the checks without which nothing of it is believed. Pure.

`owner.<owner>` has the owner's public keys: the first one is pinned by the first publication, and each later one is
signed by the one before. `protocol.<owner>.<name>` has the versions of a protocol, each with its digest and its
signatures. `description.<digest>` has the description itself, in its canonical form.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from broker_plane.errors import RegistryError, SignatureError
from broker_plane.registry.canonical import canonical
from broker_plane.registry.description import Line, parse_id
from broker_plane.registry.signing import SigningKey, fingerprint, verify
from broker_plane.registry.versions import is_version
from broker_plane.wire import exact_json

MAX_ENTRY_BYTES: Final = 512 << 10
"""Largest entry of the bucket that is read at all."""

MAX_VERSIONS: Final = 500
"""Versions of one protocol."""

_MAX_KEYS = 64
_MAX_SIGNATURES = 4

Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
PublicKey = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]
SignatureText = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{86}\Z")]
Seconds = Annotated[int, Meta(ge=0, le=2**53 - 1)]
"""Unix seconds."""

T = TypeVar("T")


class EntrySignature(msgspec.Struct, frozen=True, kw_only=True):
    """A signature, and the public key that it is by."""

    key: PublicKey
    signature: SignatureText


Signatures = Annotated[tuple[EntrySignature, ...], Meta(min_length=1, max_length=_MAX_SIGNATURES)]


class OwnerKeyLink(msgspec.Struct, frozen=True, kw_only=True):
    """A public key of an owner; `signature` is by the key before, and that of the first key by itself."""

    key: PublicKey
    at: Seconds
    signature: SignatureText


class OwnerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The public keys of an owner, oldest first. The last one signs."""

    owner: str
    keys: Annotated[tuple[OwnerKeyLink, ...], Meta(min_length=1, max_length=_MAX_KEYS)]

    @property
    def key(self) -> str:
        """The public key that signs now."""
        return self.keys[-1].key


class YankMark(msgspec.Struct, frozen=True, kw_only=True):
    """The owner's statement that a version should not be used any more."""

    at: Seconds
    reason: Line = ""
    signatures: Signatures


class VersionEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A version of a protocol: the SHA-256 of its description, when it was published, and by whom."""

    version: str
    digest: Digest
    published: Seconds
    signatures: Signatures
    yanked: YankMark | None = None


class ProtocolRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The versions of a protocol, in the order in which they were published."""

    id: str
    versions: Annotated[tuple[VersionEntry, ...], Meta(max_length=MAX_VERSIONS)]


@dataclass(frozen=True, slots=True)
class Pin:
    """The key by which an owner's entries have to be signed."""

    owner: str
    key: str


def first_key(owner: str, key: SigningKey, at: int) -> OwnerRecord:
    """The record that pins an owner's first key."""
    signature = key.sign(_key_statement(owner, 1, key.public, "", at))
    return OwnerRecord(owner=owner, keys=(OwnerKeyLink(key=key.public, at=at, signature=signature),))


def next_key(record: OwnerRecord, old: SigningKey, new: SigningKey, at: int) -> OwnerRecord:
    """The record with another key, which the one before signs.

    Raises:
        RegistryError: the owner has had as many keys as there may be.
    """
    if len(record.keys) >= _MAX_KEYS:
        raise RegistryError(f"The owner {record.owner} has had {_MAX_KEYS} keys; there cannot be another one")
    signature = old.sign(_key_statement(record.owner, len(record.keys) + 1, new.public, old.public, at))
    return OwnerRecord(
        owner=record.owner, keys=(*record.keys, OwnerKeyLink(key=new.public, at=at, signature=signature))
    )


def check_owner(record: OwnerRecord, owner: str, known: str = "") -> Pin:
    """The pin of an owner, whose key `known` was seen before, if any.

    Raises:
        SignatureError: the record is another owner's, a key is not signed by the one before, or `known` is not among
            the keys.
    """
    if record.owner != owner:
        raise SignatureError(f"The keys of {owner} are those of another owner")
    before = ""
    for number, link in enumerate(record.keys, 1):
        verify(_key_statement(owner, number, link.key, before, link.at), link.signature, before or link.key)
        before = link.key
    if known and known not in {link.key for link in record.keys}:
        raise SignatureError(
            f"The keys of {owner} in the registry are not the ones that were seen before ({fingerprint(known)}). "
            f"If {owner} says that this is right, remove its line from the list of known owners"
        )
    return Pin(owner, record.key)


def signed_version(key: SigningKey, protocol: str, version: str, digest: str, published: int) -> VersionEntry:
    """The entry of a version, with the signature of its owner."""
    statement = _version_statement(protocol, version, digest, published)
    return VersionEntry(version=version, digest=digest, published=published, signatures=(_signature(key, statement),))


def signed_again(key: SigningKey, protocol: str, entry: VersionEntry) -> VersionEntry:
    """The entry with signatures of `key` besides those that it has; the oldest ones make room for it."""
    statement = _version_statement(protocol, entry.version, entry.digest, entry.published)
    yanked = entry.yanked
    if yanked is not None:
        marks = _added(yanked.signatures, key, _yank_statement(protocol, entry, yanked.at, yanked.reason))
        yanked = msgspec.structs.replace(yanked, signatures=marks)
    return msgspec.structs.replace(entry, signatures=_added(entry.signatures, key, statement), yanked=yanked)


def signed_yank(key: SigningKey, protocol: str, entry: VersionEntry, at: int, reason: str) -> VersionEntry:
    """The entry with the mark that it should not be used any more."""
    statement = _yank_statement(protocol, entry, at, reason)
    mark = YankMark(at=at, reason=reason, signatures=(_signature(key, statement),))
    return msgspec.structs.replace(entry, yanked=mark)


def check_version(pin: Pin, protocol: str, entry: VersionEntry) -> None:
    """Find out whether an entry, and its mark if it has one, are by the owner of the protocol.

    Raises:
        SignatureError: they are not.
    """
    if parse_id(protocol)[0] != pin.owner or not is_version(entry.version):
        raise SignatureError(f"The entry of {protocol} is not one of the owner {pin.owner}")
    _check(pin, entry.signatures, _version_statement(protocol, entry.version, entry.digest, entry.published))
    if (mark := entry.yanked) is not None:
        _check(pin, mark.signatures, _yank_statement(protocol, entry, mark.at, mark.reason))


def is_signed(pin: Pin, protocol: str, entry: VersionEntry) -> bool:
    """Whether `check_version` finds nothing wrong."""
    try:
        check_version(pin, protocol, entry)
    except SignatureError:
        return False
    return True


def believed(pins: Sequence[Pin], record: ProtocolRecord) -> tuple[list[VersionEntry], list[SignatureError]]:
    """The versions of a record that are signed with the key of one of `pins`, and what is wrong with the others."""
    good: list[VersionEntry] = []
    wrong: list[SignatureError] = []
    for entry in record.versions:
        held = {each.key for each in entry.signatures}
        try:
            check_version(next((pin for pin in pins if pin.key in held), pins[0]), record.id, entry)
            good.append(entry)
        except SignatureError as error:
            wrong.append(error)
    return good, wrong


def parse_owner_record(raw: bytes, owner: str) -> OwnerRecord:
    """The keys of an owner. Raises SignatureError if the entry is malformed."""
    return _parsed(raw, OwnerRecord, f"The keys of {owner} in the registry")


def parse_protocol_record(raw: bytes, protocol: str) -> ProtocolRecord:
    """The versions of a protocol. Raises SignatureError if the entry is malformed or another protocol's."""
    record = _parsed(raw, ProtocolRecord, f"The entry of {protocol} in the registry")
    if record.id != protocol:
        raise SignatureError(f"The entry of {protocol} in the registry is another protocol's")
    return record


def dump(record: OwnerRecord | ProtocolRecord) -> bytes:
    """The entry of the bucket."""
    raw = canonical(msgspec.to_builtins(record))
    if len(raw) > MAX_ENTRY_BYTES:
        raise RegistryError("The protocol has too many versions for one entry; publish it under another name")
    return raw


def _parsed(raw: bytes, kind: type[T], what: str) -> T:
    if len(raw) > MAX_ENTRY_BYTES:
        raise SignatureError(f"{what} is larger than {MAX_ENTRY_BYTES:,} bytes, and was not written by its owner")
    try:
        return msgspec.convert(exact_json.loads(raw), kind)
    except (*exact_json.MALFORMED, msgspec.ValidationError):
        raise SignatureError(f"{what} is damaged, or was not written by its owner") from None


def _check(pin: Pin, signatures: Iterable[EntrySignature], statement: dict[str, Any]) -> None:
    for each in signatures:
        if each.key == pin.key:
            verify(statement, each.signature, each.key)
            return
    raise SignatureError(
        f"{statement['id']}@{statement['version']} has no signature by the key of {pin.owner} ({fingerprint(pin.key)})"
    )


def _signature(key: SigningKey, statement: dict[str, Any]) -> EntrySignature:
    return EntrySignature(key=key.public, signature=key.sign(statement))


def _added(signatures: Signatures, key: SigningKey, statement: dict[str, Any]) -> tuple[EntrySignature, ...]:
    others = [each for each in signatures if each.key != key.public]
    return (*others[-(_MAX_SIGNATURES - 1) :], _signature(key, statement))


def _key_statement(owner: str, number: int, key: str, previous: str, at: int) -> dict[str, Any]:
    return {
        "statement": "broker-plane registry: owner's key, 1",
        "owner": owner,
        "number": number,
        "key": key,
        "previous": previous,
        "at": at,
    }


def _version_statement(protocol: str, version: str, digest: str, published: int) -> dict[str, Any]:
    return {
        "statement": "broker-plane registry: version of a protocol, 1",
        "id": protocol,
        "version": version,
        "digest": digest,
        "published": published,
    }


def _yank_statement(protocol: str, entry: VersionEntry, at: int, reason: str) -> dict[str, Any]:
    return {
        "statement": "broker-plane registry: version that should not be used, 1",
        "id": protocol,
        "version": entry.version,
        "digest": entry.digest,
        "at": at,
        "reason": reason,
    }
