"""Reads the registry. Nothing in the bucket is believed before the digest and the owner's signature are verified."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from time import monotonic

import anyio

from broker_plane.errors import EntryNotFoundError, RegistryError, SignatureError
from broker_plane.plane.ports import Bucket
from broker_plane.plane.protocols.counts import UsageCounts
from broker_plane.plane.protocols.owners import OwnerPins, PinnedOwner
from broker_plane.registry.agora import agora_of, is_agora_hash
from broker_plane.registry.canonical import digest_of
from broker_plane.registry.description import BUILTIN, parse_description, parse_id
from broker_plane.registry.entry_names import PROTOCOLS, description_entry, protocol_entry, protocol_of_entry
from broker_plane.registry.records import (
    MAX_ENTRY_BYTES,
    Pin,
    ProtocolRecord,
    VersionEntry,
    believed,
    check_version,
    is_signed,
    parse_protocol_record,
)
from broker_plane.registry.registered import RegisteredProtocol, builtin_protocols, check_content
from broker_plane.registry.search import ProtocolSearch, search
from broker_plane.registry.versions import SemanticVersion, is_version, newest, parse_range, parse_version
from broker_plane.wire import exact_json

_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})\Z")
_CACHED = 512
"""Descriptions that a process keeps in memory. They are found by their digest, so they are never out of date."""


@dataclass(frozen=True, slots=True)
class ProtocolListing:
    """The newest usable version of each protocol, by id, and what was refused of the rest: one sentence each."""

    protocols: Sequence[RegisteredProtocol]
    refused: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class FoundProtocols:
    """What a search found, best first, each with its score; `refused` as in ProtocolListing."""

    protocols: Sequence[tuple[RegisteredProtocol, float]]
    refused: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ListedVersions:
    """The versions of a protocol, oldest first; `refused` as in ProtocolListing."""

    entries: Sequence[VersionEntry]
    refused: Sequence[str] = ()


class ProtocolReader:
    """Reads descriptions, the built-in ones included. A listing is reused for `fresh_seconds`."""

    def __init__(
        self,
        bucket: Bucket,
        pins: OwnerPins,
        counts: UsageCounts,
        *,
        fresh_seconds: float = 0.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._bucket = bucket
        self._pins = pins
        self._counts = counts
        self._fresh = fresh_seconds
        self._clock = clock
        self._cache: OrderedDict[str, RegisteredProtocol] = OrderedDict()
        self._listed: tuple[float, ProtocolListing] | None = None
        self._listing = anyio.Lock()

    async def get(self, wanted: str, version: str = "") -> RegisteredProtocol:
        """A description: `owner/name`, `owner/name@version`, the name of a built-in one, a digest, or an Agora hash.

        Without a version it is the newest one, a release if there is one; a range such as ^1.2 leaves others out. A
        yanked version is returned only if it is named exactly, or by its digest.

        Raises:
            EntryNotFoundError: there is none. SignatureError: what was found is not what its owner published.
        """
        if found := _DIGEST.match(wanted):
            protocol = await self._by_digest(found[1])
        elif is_agora_hash(wanted):
            protocol = await self._by_agora_hash(wanted)
        else:
            identity, _, named = wanted.partition("@")
            protocol = await self._by_id(identity if "/" in identity else f"{BUILTIN}/{identity}", version or named)
        self._counts.note(protocol.description.id, protocol.description.version, "gets")
        return protocol

    async def versions(self, identity: str) -> ListedVersions:
        """The versions of a protocol that somebody published.

        Raises:
            EntryNotFoundError: there is none. SignatureError: its entry, or its owner's, is not to be believed.
        """
        owner, record = await self._record(identity)
        good, wrong = believed([owner.pin], record)
        return ListedVersions(good, [str(error) for error in wrong])

    async def listing(self, owner: str = "") -> ProtocolListing:
        """The newest version of every protocol, or of those of one owner."""
        # Anybody may ask a bridge for it: of many who do so at once, one reads the bucket, however long that takes.
        async with self._listing:
            if self._listed is None or not self._clock() < self._listed[0] + self._fresh:
                made = await self._list()
                self._listed = self._clock(), made
            listing = self._listed[1]
        if not owner:
            return listing
        owned = [each for each in listing.protocols if each.description.owner == owner]
        return ProtocolListing(owned, listing.refused)

    async def search(self, wanted: ProtocolSearch, limit: int = 20) -> FoundProtocols:
        """The protocols that fit, best first."""
        listing = await self.listing()
        by_id = {each.description.id: each for each in listing.protocols}
        found = search((each.description for each in listing.protocols), wanted)
        return FoundProtocols([(by_id[each.description.id], each.score) for each in found[:limit]], listing.refused)

    async def _by_id(self, identity: str, version: str) -> RegisteredProtocol:
        if parse_id(identity)[0] == BUILTIN:
            return _builtin(identity, version)
        owner, record = await self._record(identity)
        return await self._verified(owner, identity, _chosen(owner.pin, record, version))

    async def _by_digest(self, digest: str) -> RegisteredProtocol:
        for builtin in builtin_protocols().values():
            if builtin.digest == digest:
                return builtin
        found = await self._content(digest)
        identity = found.description.id
        owner, record = await self._record(identity)
        for entry in record.versions:
            if entry.digest == digest:
                return await self._verified(owner, identity, entry)
        raise EntryNotFoundError(f"No version of {identity} has this digest")

    async def _by_agora_hash(self, wanted: str) -> RegisteredProtocol:
        """The newest version that has this Agora document; a yanked one if there is no other."""
        digests = []
        async with aclosing(self._bucket.entries(description_entry("*"))) as entries:
            async for name, raw, _ in entries:
                if len(raw) <= MAX_ENTRY_BYTES and wanted.encode() in raw:
                    digests.append(name.rpartition(".")[2])
        found: list[RegisteredProtocol] = []
        for digest in digests:
            with suppress(RegistryError):  # a forged entry hides no other one
                protocol = await self._by_digest(digest)
                document = agora_of(protocol.fields)
                found += [protocol] if document is not None and document.hash == wanted else []
        if not found:
            raise EntryNotFoundError("No protocol with the document of this Agora hash is registered")
        if len(names := sorted({each.description.id for each in found})) > 1:
            raise RegistryError(f"Several protocols have this document; ask for one of them: {', '.join(names)}")
        return max(found, key=lambda each: (not each.yanked, each.description.semantic_version.precedence))

    async def _record(self, identity: str) -> tuple[PinnedOwner, ProtocolRecord]:
        """The owner of a protocol, and its versions, whose signatures are not verified yet."""
        name = protocol_entry(identity)
        raw, _ = await self._bucket.load(name)
        if raw is None:
            raise EntryNotFoundError(
                f"No protocol {identity} is registered; `broker-plane protocols search` finds others"
            )
        return await self._pins.load(parse_id(identity)[0]), parse_protocol_record(raw, identity)

    async def _verified(self, owner: PinnedOwner, identity: str, entry: VersionEntry) -> RegisteredProtocol:
        check_version(owner.pin, identity, entry)
        found = await self._content(entry.digest)
        check_content(found.fields, found.description, entry)
        if found.description.id != identity:
            raise SignatureError(f"The description of {identity}@{entry.version} is another protocol's")
        return RegisteredProtocol(found.description, found.fields, entry.digest, entry, owner.record)

    async def _content(self, digest: str) -> RegisteredProtocol:
        """The description with this digest, without a signature."""
        if digest in self._cache:
            self._cache.move_to_end(digest)
            return self._cache[digest]
        raw, _ = await self._bucket.load(description_entry(digest))
        if raw is None:
            raise EntryNotFoundError("The registry has no description with this digest")
        made = _parse_content(raw, digest)
        self._cache[digest] = made
        if len(self._cache) > _CACHED:
            self._cache.popitem(last=False)
        return made

    async def _list(self) -> ProtocolListing:
        found = list(builtin_protocols().values())
        refused: list[str] = []
        owners: dict[str, PinnedOwner | RegistryError] = {}
        async with aclosing(self._bucket.entries(PROTOCOLS)) as entries:
            records = [(protocol_of_entry(name), raw) async for name, raw, _ in entries]
        for identity, raw in records:
            try:
                newest_one = await self._newest(identity, raw, owners)
                found += [newest_one] if newest_one else []
            except RegistryError as error:
                refused.append(str(error))
        return ProtocolListing(sorted(found, key=lambda each: each.description.id), refused)

    async def _newest(
        self, identity: str, raw: bytes, owners: dict[str, PinnedOwner | RegistryError]
    ) -> RegisteredProtocol | None:
        """The newest version in an entry, if not all are yanked. `owners` are those that were loaded already."""
        owner = parse_id(identity)[0]
        if owner not in owners:
            try:
                owners[owner] = await self._pins.load(owner)
            except RegistryError as error:
                owners[owner] = error
        pinned = owners[owner]
        if isinstance(pinned, RegistryError):
            raise pinned
        record = parse_protocol_record(raw, identity)
        best = newest(_usable(pinned.pin, record))
        return await self._verified(pinned, identity, _usable(pinned.pin, record)[best]) if best else None


def _usable(pin: Pin, record: ProtocolRecord) -> dict[SemanticVersion, VersionEntry]:
    """The versions that are not yanked. An entry that its owner did not sign hides no version from its reader."""
    for entry in record.versions:
        if not is_version(entry.version):
            check_version(pin, record.id, entry)
    return {
        parse_version(entry.version): entry
        for entry in record.versions
        if not (entry.yanked and is_signed(pin, record.id, entry))
    }


def _chosen(pin: Pin, record: ProtocolRecord, wanted: str) -> VersionEntry:
    """The version that is meant. One with a wrong signature is not passed over: its reader shall notice it."""
    if wanted and is_version(wanted):
        exact = next((entry for entry in record.versions if entry.version == wanted), None)
        if exact is None:
            raise EntryNotFoundError(f"{record.id} has no version {wanted}; it has {_listed(record)}")
        return exact
    allowed = parse_range(wanted) if wanted else None
    usable = _usable(pin, record)
    best = newest(version for version in usable if allowed is None or version in allowed)
    if best is None:
        which = f"no version {wanted}" if wanted else "no version that is not yanked"
        raise EntryNotFoundError(f"{record.id} has {which}; it has {_listed(record)}")
    return usable[best]


def _listed(record: ProtocolRecord) -> str:
    return ", ".join(entry.version for entry in record.versions[-10:]) or "none"


def _builtin(identity: str, version: str) -> RegisteredProtocol:
    found = builtin_protocols().get(identity)
    if found is None:
        raise EntryNotFoundError(f"No protocol {identity} is built in; `broker-plane protocols list` shows all")
    if version and found.description.semantic_version not in parse_range(version):
        raise EntryNotFoundError(f"{identity} has no version {version}; it has {found.description.version}")
    return found


def _parse_content(raw: bytes, digest: str) -> RegisteredProtocol:
    damaged = SignatureError("A description in the registry does not have the digest that its owner signed")
    if len(raw) > MAX_ENTRY_BYTES:
        raise damaged
    try:
        fields = exact_json.loads(raw)
        if digest_of(fields) != digest:
            raise damaged
    except (*exact_json.MALFORMED, RegistryError):
        raise damaged from None
    return RegisteredProtocol(parse_description(fields), fields, digest)
