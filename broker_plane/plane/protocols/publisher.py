"""Writes into the registry: an owner publishes, withdraws and signs under the id that the first publication pinned."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

from broker_plane.errors import (
    ConflictError,
    EntryNotFoundError,
    NotOwnerError,
    OldVersionError,
    RegistryError,
    SignatureError,
)
from broker_plane.plane.ports import Bucket
from broker_plane.plane.protocols.owners import OwnerPins, PinnedOwner
from broker_plane.plane.protocols.ports import OwnerSigningKeys
from broker_plane.plane.retry import compare_and_set
from broker_plane.registry.canonical import canonical, digest_of
from broker_plane.registry.description import RESERVED, ProtocolDescription, parse_description, parse_id
from broker_plane.registry.entry_names import description_entry, owner_entry, protocol_entry, protocol_of_entry
from broker_plane.registry.records import (
    MAX_VERSIONS,
    OwnerRecord,
    Pin,
    ProtocolRecord,
    VersionEntry,
    believed,
    check_owner,
    check_version,
    dump,
    first_key,
    next_key,
    parse_protocol_record,
    signed_again,
    signed_version,
    signed_yank,
)
from broker_plane.registry.registered import RegisteredProtocol, parse_export
from broker_plane.registry.signing import SigningKey, fingerprint
from broker_plane.registry.versions import parse_version

log = logging.getLogger(__name__)

_Change = Callable[[list[VersionEntry]], list[VersionEntry]]


class ProtocolPublisher:
    """Publishes as one owner."""

    def __init__(
        self, bucket: Bucket, pins: OwnerPins, keys: OwnerSigningKeys, owner: str, *, now: Callable[[], float]
    ) -> None:
        self._bucket = bucket
        self._pins = pins
        self._keys = keys
        self._owner = owner
        self._now = now

    async def publish(self, fields: dict[str, Any]) -> RegisteredProtocol:
        """Sign and store a version. The same content under the same version again is a success and changes nothing.

        Raises:
            RegistryError: the description is malformed. NotOwnerError: the id belongs to somebody else.
            OldVersionError: the version is not newer than every one before. ConflictError, BrokerUnavailableError.
        """
        description = parse_description(fields)
        owner, key = await self._as_owner(description.id, "publish")
        entry = signed_version(key, description.id, description.version, digest_of(fields), int(self._now()))
        return await self._accept(owner, description, fields, entry)

    async def mirror(self, exported: Any) -> RegisteredProtocol:
        """Store a version of any owner as another registry exported it (`RegisteredProtocol.to_wire`).

        Raises:
            SignatureError: it is not signed by its owner. NotOwnerError: here the owner's name belongs to another key.
            RegistryError, OldVersionError: as `publish`.
        """
        found = parse_export(exported)
        description, name = found.protocol.description, found.protocol.description.owner
        if name in RESERVED:
            raise NotOwnerError(f"The owner {name} is reserved")
        check_version(check_owner(found.owner_keys, name), description.id, found.entry)
        owner = await self._pinned(found.owner_keys)
        if owner.pin.key not in {each.key for each in found.entry.signatures}:
            raise NotOwnerError(f"Here the owner {name} is another one, with the key {fingerprint(owner.pin.key)}")
        return await self._accept(owner, description, dict(found.protocol.fields), found.entry)

    async def unpublish(self, identity: str, version: str, reason: str = "") -> VersionEntry:
        """Mark a version as yanked: it is never the newest one, and stays readable under its exact version.

        Raises:
            EntryNotFoundError: there is no such version. NotOwnerError: the protocol belongs to somebody else.
        """
        owner, key = await self._as_owner(identity, "unpublish")
        at = int(self._now())

        def change(entries: list[VersionEntry]) -> list[VersionEntry]:
            if version not in {entry.version for entry in entries}:
                raise EntryNotFoundError(f"{identity} has no version {version}")
            return [
                signed_yank(key, identity, each, at, reason) if each.version == version and not each.yanked else each
                for each in entries
            ]

        entries = await self._changed(identity, change, [owner.pin])
        return next(entry for entry in entries if entry.version == version)

    async def rotate(self) -> str:
        """Make a new signing key, which the old one signs, and return its public key.

        Every version is signed by both before the new key is announced, so readers notice nothing. If it is
        interrupted, the next call goes on with the same new key.
        """
        owner = await self._pinned(self._first_record())
        held = self._keys.held()
        old = self._own_key(owner.pin)
        new = held[0] if held[0].public not in {link.key for link in owner.record.keys} else self._keys.add()
        pins = [owner.pin, Pin(self._owner, new.public)]
        await self._sign_all(new, pins)
        record = next_key(owner.record, old, new, int(self._now()))
        await self._bucket.save(owner_entry(self._owner), dump(record), owner.revision)
        await self._sign_all(new, pins)  # what another process published with the old key in the meantime
        return self._pins.check(record, self._owner).key

    async def _as_owner(self, identity: str, what: str) -> tuple[PinnedOwner, SigningKey]:
        owner = parse_id(identity)[0]
        if owner in RESERVED:
            raise NotOwnerError(f"The owner {owner} is reserved; publish as {self._owner}/…")
        if owner != self._owner:
            raise NotOwnerError(
                f"{identity} belongs to {owner}, and this process is {self._owner} (BROKER_PLANE_OWNER): it cannot "
                f"{what} it"
            )
        pinned = await self._pinned(self._first_record())
        return pinned, self._own_key(pinned.pin)

    def _first_record(self) -> OwnerRecord:
        return first_key(self._owner, self._keys.held()[-1], int(self._now()))

    def _own_key(self, pin: Pin) -> SigningKey:
        for key in self._keys.held():
            if key.public == pin.key:
                return key
        raise NotOwnerError(
            f"The owner {pin.owner} has another key ({fingerprint(pin.key)}): use its key file "
            "(BROKER_PLANE_PROTOCOLS_KEY), or set BROKER_PLANE_OWNER to a name that nobody has"
        )

    async def _pinned(self, record: OwnerRecord) -> PinnedOwner:
        """The owner as the bucket has it; `record` is stored if the bucket has none."""
        with suppress(EntryNotFoundError):
            return await self._pins.load(record.owner)
        self._pins.check(record, record.owner)
        with suppress(ConflictError):  # another process was faster; it may have another key
            await self._bucket.save(owner_entry(record.owner), dump(record), 0)
        return await self._pins.load(record.owner)

    async def _accept(
        self, owner: PinnedOwner, description: ProtocolDescription, fields: dict[str, Any], entry: VersionEntry
    ) -> RegisteredProtocol:
        await self._store(entry.digest, canonical(fields))
        entries = await self._changed(description.id, lambda entries: _with(description, entries, entry), [owner.pin])
        stored = next(each for each in entries if each.version == entry.version)
        return RegisteredProtocol(description, fields, entry.digest, stored, owner.record)

    async def _store(self, digest: str, raw: bytes) -> None:
        """Store a description under its digest, in place of a damaged one."""
        name = description_entry(digest)
        found, revision = await self._bucket.load(name)
        if found != raw:
            with suppress(ConflictError):
                await self._bucket.save(name, raw, revision)

    async def _changed(self, identity: str, change: _Change, pins: Sequence[Pin]) -> list[VersionEntry]:
        """The versions of a protocol after a change, which is stored. `pins` are keys that its owner may have now."""
        name = protocol_entry(identity)

        async def load() -> tuple[list[VersionEntry], int]:
            raw, revision = await self._bucket.load(name)
            # The key is read after the entry: one that is newer than every version in it drops none of them.
            current = (await self._pins.load(pins[0].owner)).pin
            if current not in pins:
                raise ConflictError(f"The key of {current.owner} was replaced just now; try again")
            return ([] if raw is None else _own_entries([current, *pins], identity, raw)), revision

        async def save(entries: list[VersionEntry], revision: int) -> None:
            await self._bucket.save(name, dump(ProtocolRecord(id=identity, versions=tuple(entries))), revision)

        return await compare_and_set(load, change, save)

    async def _sign_all(self, key: SigningKey, pins: Sequence[Pin]) -> None:
        async with aclosing(self._bucket.entries(f"protocol.{self._owner}.*")) as entries:
            identities = [protocol_of_entry(name) async for name, _, _ in entries]
        for identity in identities:
            await self._changed(identity, partial(_signed_by, key, identity), pins)


def _signed_by(key: SigningKey, identity: str, entries: list[VersionEntry]) -> list[VersionEntry]:
    """The versions with a signature of `key` each."""
    return [
        entry if key.public in {each.key for each in entry.signatures} else signed_again(key, identity, entry)
        for entry in entries
    ]


def _with(description: ProtocolDescription, entries: list[VersionEntry], entry: VersionEntry) -> list[VersionEntry]:
    """The versions with a new one."""
    identity, version = description.id, description.semantic_version
    for each in entries:
        if each.version == entry.version and each.digest == entry.digest:
            return [entry if entry.yanked and other is each else other for other in entries]
    latest = max(entries, key=lambda each: parse_version(each.version).precedence, default=None)
    if latest is not None and not version.precedence > parse_version(latest.version).precedence:
        same = any(each.version == entry.version for each in entries)
        why = "exists with another content" if same else f"is not newer than {latest.version}"
        raise OldVersionError(f"{identity}@{entry.version} {why}: publish a version above {latest.version}")
    if len(entries) >= MAX_VERSIONS:
        raise RegistryError(f"{identity} has {MAX_VERSIONS} versions, the most; publish it under another name")
    return [*entries, entry]


def _own_entries(pins: Sequence[Pin], identity: str, raw: bytes) -> list[VersionEntry]:
    """The versions that the owner has signed. Others are not its own, and the next write leaves them out."""
    try:
        good, wrong = believed(pins, parse_protocol_record(raw, identity))
    except SignatureError as error:
        good, wrong = [], [error]
    for each in wrong:
        log.warning("not kept in the registry: %s", each)
    return good
