"""A description together with what its owner signed: what readers get, and export to another registry. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any

import msgspec

from broker_plane.errors import RegistryError, SignatureError
from broker_plane.registry.builtin.catalogue import builtin_fields
from broker_plane.registry.canonical import digest_of
from broker_plane.registry.description import ProtocolDescription, parse_description
from broker_plane.registry.records import OwnerRecord, VersionEntry


@dataclass(frozen=True, slots=True)
class RegisteredProtocol:
    """One version of a protocol, with verified digest and signatures. Built-in ones have neither entry nor keys."""

    description: ProtocolDescription
    fields: Mapping[str, Any] = field(repr=False)
    """The JSON object as it was published, with the members that this version does not know."""
    digest: str
    """SHA-256 of the canonical form (RFC 8785), in hex."""
    entry: VersionEntry | None = None
    owner_keys: OwnerRecord | None = None

    @property
    def yanked(self) -> bool:
        """Whether its owner says that it should not be used any more."""
        return self.entry is not None and self.entry.yanked is not None

    def to_wire(self) -> dict[str, Any]:
        """The JSON object that `parse_export` reads, and that shows everything."""
        shown: dict[str, Any] = {"description": dict(self.fields), "digest": f"sha256:{self.digest}"}
        if self.entry is not None and self.owner_keys is not None:
            shown |= {"entry": msgspec.to_builtins(self.entry), "owner": msgspec.to_builtins(self.owner_keys)}
        return shown

    def summary(self) -> dict[str, Any]:
        """What a list shows of it."""
        about, entry = self.description, self.entry
        return {
            "id": about.id,
            "version": about.version,
            "title": about.title,
            "summary": about.summary,
            "protocol": about.word,
            "mode": about.mode,
            "format": about.format,
            "auth": list(about.auth),
            "tiers": list(about.tiers.named()),
            "tags": list(about.tags),
            "digest": f"sha256:{self.digest}",
            **({"published": entry.published} if entry else {}),
            **({"yanked": entry.yanked.reason or True} if entry and entry.yanked else {}),
        }


@dataclass(frozen=True, slots=True)
class ExportedProtocol:
    """What another registry exported; its signature is not verified yet."""

    protocol: RegisteredProtocol
    entry: VersionEntry
    owner_keys: OwnerRecord


def parse_export(fields: Any) -> ExportedProtocol:
    """The export of parsed JSON.

    Raises:
        RegistryError: it is malformed. SignatureError: the description is not the one that was signed.
    """
    if not isinstance(fields, dict) or not {"description", "entry", "owner"} <= fields.keys():
        raise RegistryError("This is not an exported protocol: it has description, entry and owner")
    try:
        entry = msgspec.convert(fields["entry"], VersionEntry)
        keys = msgspec.convert(fields["owner"], OwnerRecord)
    except msgspec.ValidationError as error:
        raise RegistryError(f"This is not an exported protocol: {error}") from None
    description = parse_description(fields["description"])
    check_content(fields["description"], description, entry)
    found = RegisteredProtocol(description, fields["description"], entry.digest, entry, keys)
    return ExportedProtocol(found, entry, keys)


def check_content(fields: Any, description: ProtocolDescription, entry: VersionEntry) -> None:
    """Find out whether a description is the one of which its owner signed the digest. Raises SignatureError if not."""
    if digest_of(fields) != entry.digest or description.version != entry.version:
        raise SignatureError(f"The description of {description.names_version} is not the one that its owner signed")


@cache
def builtin_protocols() -> Mapping[str, RegisteredProtocol]:
    """The built-in descriptions, by id."""
    return MappingProxyType(
        {
            name: RegisteredProtocol(parse_description(dict(fields)), fields, digest_of(dict(fields)))
            for name, fields in builtin_fields().items()
        }
    )
