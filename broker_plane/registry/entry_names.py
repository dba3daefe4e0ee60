"""Names of the entries in the registry's bucket. Owners and names of protocols are subject tokens as they are. Pure."""

from __future__ import annotations

from typing import Final

from broker_plane.registry.description import parse_id

OWNERS: Final = "owner.*"
PROTOCOLS: Final = "protocol.*.*"


def owner_entry(owner: str) -> str:
    """The name of the entry with an owner's keys."""
    return f"owner.{owner}"


def protocol_entry(protocol: str) -> str:
    """The name of the entry with a protocol's versions: owners and names are subject tokens as they are."""
    owner, name = parse_id(protocol)
    return f"protocol.{owner}.{name}"


def description_entry(digest: str) -> str:
    """The name of the entry with the description that has this SHA-256."""
    return f"description.{digest}"


def count_entry(protocol: str) -> str:
    """The name of the entry with a protocol's counters."""
    owner, name = parse_id(protocol)
    return f"count.{owner}.{name}"


def protocol_of_entry(entry: str) -> str:
    """The id of the protocol whose versions or counters an entry has."""
    _, owner, name = entry.split(".", 2)
    return f"{owner}/{name}"
