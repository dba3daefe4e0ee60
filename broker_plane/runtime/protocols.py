"""`plane.protocols`: the registry of protocol descriptions (docs/protocols.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from broker_plane.config import Settings
from broker_plane.errors import RegistryError
from broker_plane.plane.ports import Bucket
from broker_plane.plane.protocols.publisher import ProtocolPublisher
from broker_plane.plane.protocols.reader import FoundProtocols, ListedVersions, ProtocolListing
from broker_plane.registry.agora import agora_of, description_fields, parse_agora, routine_of
from broker_plane.registry.composition import compose
from broker_plane.registry.description import ProtocolDescription, Tier, parse_description
from broker_plane.registry.level2 import level2_descriptor
from broker_plane.registry.records import VersionEntry
from broker_plane.registry.registered import RegisteredProtocol
from broker_plane.registry.search import ProtocolSearch
from broker_plane.runtime.protocol_reading import ProtocolReading, protocols_folder
from broker_plane.storage.signing_keys import SigningKeyFile
from broker_plane.wire.descriptor import Descriptor

if TYPE_CHECKING:
    from broker_plane.levels.agora import AgoraRoutine


class Protocols:
    """Descriptions of protocols: publishes, finds and composes them. Needs the role `plane`."""

    def __init__(self, bucket: Bucket, settings: Settings, *, now: Callable[[], float]) -> None:
        self._owner = settings.owner
        self._reading = ProtocolReading.of(bucket, settings)
        self._reader = self._reading.reader
        key_file = Path(settings.protocols_key or protocols_folder(settings) / f"{settings.owner}.key")
        pins, keys = self._reading.pins, SigningKeyFile(key_file)
        self._publisher = ProtocolPublisher(bucket, pins, keys, settings.owner, now=now)

    async def close(self) -> None:
        """Add what was counted to the figures of the plane."""
        await self._reading.close()

    async def publish(self, description: Mapping[str, Any]) -> RegisteredProtocol:
        """Sign a description with this owner's key and store it; its form is in docs/protocols.md.

        An export of another registry (`RegisteredProtocol.to_wire`) keeps its owner's signature. The same content
        again is a success.

        Raises:
            RegistryError: it is malformed. NotOwnerError: the id belongs to somebody else.
            OldVersionError: the version is not newer than all before. SignatureError: an export is not its owner's.
        """
        fields = dict(description)
        if {"entry", "owner", "description"} <= fields.keys():
            return await self._publisher.mirror(fields)
        return await self._publisher.publish(fields)

    async def publish_agora(
        self, document: str, *, version: str = "1.0.0", sources: Sequence[str] = (), routine: str = ""
    ) -> RegisteredProtocol:
        """Publish a protocol document of Agora, which `get` then finds by its hash (docs/protocols.md).

        `sources` are URLs from which others get the document; `routine` is the Python of its routine. Raises as
        `publish`.
        """
        protocol = parse_agora(document, sources)
        return await self.publish(description_fields(protocol, self._owner, version, routine=routine))

    async def agora_routine(self, protocol: str) -> AgoraRoutine:
        """Return the routine that was published with a document, as the `provider` of `plane.levels.run`.

        Raises:
            RegistryError: the description, which is named as for `get`, has no document or no routine.
        """
        from broker_plane.levels.agora import AgoraRoutine

        found = await self.get(protocol)
        document = agora_of(found.fields)
        if document is None:
            raise RegistryError(f"{found.description.id} is not a protocol of Agora")
        return AgoraRoutine(document, routine_of(found.fields))

    async def get(self, protocol: str, version: str = "") -> RegisteredProtocol:
        """Return a description by `owner/name`, `owner/name@^1.2`, the name of a built-in one, its digest, or the hash
        of an Agora document.

        Raises:
            EntryNotFoundError: there is none. SignatureError: what is stored is not what its owner published.
        """
        return await self._reader.get(protocol, version)

    async def versions(self, protocol: str) -> ListedVersions:
        """Return the versions of a protocol, oldest first, also yanked ones."""
        return await self._reader.versions(protocol)

    async def list(self, owner: str = "") -> ProtocolListing:
        """Return the newest version of each protocol that is not yanked, by id."""
        return await self._reader.listing(owner)

    async def search(self, text: str = "", *, limit: int = 20, **filters: str) -> FoundProtocols:
        """Return what fits the words of `text`, best first.

        Filters are `tier`, `format` (a media type, or a part such as "json"), `auth`, `protocol`, `mode`, `owner` and
        `tag`.

        Raises:
            RegistryError: a filter has an impossible value.
        """
        return await self._reader.search(ProtocolSearch(text=text, **filters), limit)

    async def unpublish(self, protocol: str, version: str, reason: str = "") -> VersionEntry:
        """Yank a version: nobody gets it any more who does not ask for exactly this version.

        Raises:
            EntryNotFoundError: there is no such version. NotOwnerError: it belongs to somebody else.
        """
        return await self._publisher.unpublish(protocol, version, reason)

    async def rotate_key(self) -> str:
        """Replace this owner's signing key; the old one signs the new one. Return the public key."""
        return await self._publisher.rotate()

    async def stats(self, protocol: str = "") -> dict[str, Any]:
        """Return how many protocols there are, by owner and tag, and how often each version was read and used.

        The counts are those of all processes, within a few seconds; a process that is killed loses its last ones.
        """
        counts = await self._reading.counts.read(protocol)
        listed = (await self._reader.listing()).protocols
        shown = [each.description for each in listed if not protocol or each.description.id == protocol]
        return {
            "protocols": len(shown),
            "by_owner": dict(sorted(Counter(each.owner for each in shown).items())),
            "by_tag": dict(Counter(tag for each in shown for tag in each.tags).most_common(50)),
            "counts": counts,
        }

    async def compose(self, *protocols: str, identity: str = "", version: str = "1.0.0") -> ProtocolDescription:
        """Return one description that says what all `protocols` say (as for `get`), after a check that they fit.

        Publish its `fields()` under an `identity` of your own to share it.

        Raises:
            CompositionError: two do not fit together; the message names them. Else as `get`.
        """
        return _composed([await self.get(each) for each in protocols], identity, version)

    async def descriptor(
        self,
        *protocols: str,
        endpoint: str,
        tier: Tier = "high",
        auth: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Any] | None = None,
        hosts: Iterable[str] = (),
        timeout_seconds: float = 60.0,
        **members: Any,
    ) -> Descriptor:
        """Return a Level 2 descriptor for `endpoint` with the descriptions of `protocols`, several of them composed.

        `auth` is the descriptor's, such as `{"type": "bearer", "value": token}`. `parameters` are those that the
        description lists. Generated code may reach the endpoint and `hosts` (`host` or `host:port`). `members` are
        further members of the descriptor, such as `checksum` or `size_hint`.

        Raises:
            RegistryError: endpoint, credential or parameters do not fit. Else as `compose`.
        """
        if not protocols:
            raise RegistryError("Name at least one protocol")
        parts = [await self.get(each) for each in protocols]
        made = level2_descriptor(
            _composed(parts),
            endpoint=endpoint,
            transfer_id=str(uuid4()),
            tier=tier,
            auth=auth,
            parameters=parameters,
            hosts=hosts,
            timeout_seconds=timeout_seconds,
            **members,
        )
        for part in parts:
            self.note_use(part.description)
        return made

    def note_use(self, description: ProtocolDescription) -> None:
        """Count a transfer that was described by this version."""
        self._reading.counts.note(description.id, description.version, "uses")


def _composed(parts: Sequence[RegisteredProtocol], identity: str = "", version: str = "1.0.0") -> ProtocolDescription:
    if len(parts) == 1 and not identity:
        return parts[0].description
    return parse_description(compose([part.description for part in parts], identity, version))
