"""The roles of a collaborative session and their accesses, as grants and subjects spell them. Pure.

A role is the payload of a caveat (wire/caveats.py); an access is a token of `bp.say.<access>.<grant>.<asker>`, on which
nats-server enforces it (wire/callout.py). sessions/roles.py says which operation needs which access.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal

from broker_plane.errors import WireError

Role = Literal["editor", "reviewer", "observer", "owner"]
ROLES: Final[tuple[Role, ...]] = ("observer", "reviewer", "editor", "owner")
"""From the least to the most. Grants are for the first three; `owner` is a process with the role `plane`."""


class Access(StrEnum):
    """A class of operations: a token of the subject that they are requested on."""

    READ = "read"
    NOTE = "note"
    EDIT = "edit"
    OWN = "own"
    """Not on any subject: only a process with the role `plane` may do it."""


_ACCESSES: Final[Mapping[Role, frozenset[Access]]] = MappingProxyType(
    {
        "observer": frozenset({Access.READ}),
        "reviewer": frozenset({Access.READ, Access.NOTE}),
        "editor": frozenset({Access.READ, Access.NOTE, Access.EDIT}),
        "owner": frozenset(Access),
    }
)


def accesses(role: Role) -> frozenset[Access]:
    """The accesses of a role."""
    return _ACCESSES[role]


def parse_role(text: object) -> Role:
    """The role of a grant. Raises WireError for anything but editor, reviewer or observer."""
    for role in ROLES[:-1]:
        if text == role:
            return role
    raise WireError("A session has the roles editor, reviewer and observer")


def lower(first: Role, second: Role) -> Role:
    """The lesser of two roles: a grant that is narrowed to both has it."""
    return min(first, second, key=ROLES.index)
