"""The role table of sessions, which holds for every way in (NATS, WebSocket, HTTP). Pure.

nats-server enforces the three accesses as permissions on subjects (docs/accounts.md); the plane checks every request
against the same table again.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from broker_plane.errors import ForbiddenError, WireError
from broker_plane.wire.session_roles import ROLES, Access, Role, accesses, lower, parse_role

__all__ = ["OPERATIONS", "ROLES", "Access", "Role", "accesses", "check_may", "lower", "may", "parse_role"]

OPERATIONS: Final[Mapping[str, Access]] = MappingProxyType(
    {
        "show": Access.READ,
        "log": Access.READ,
        "diff": Access.READ,
        "join": Access.READ,
        "leave": Access.READ,
        "hear": Access.READ,
        "present": Access.NOTE,
        "note": Access.NOTE,
        "decide": Access.NOTE,
        "confirm": Access.NOTE,
        "propose": Access.EDIT,
        "update": Access.EDIT,
        "lease": Access.EDIT,
        "release": Access.EDIT,
        "rollback": Access.EDIT,
        "undo": Access.EDIT,
        "accept": Access.EDIT,
        "close": Access.OWN,
    }
)
"""Every operation with its access. `hear` is to receive new entries; `update` is an operation of `crdt` or `ot`."""


def may(role: Role, operation: str) -> bool:
    """Whether `role` may do `operation`; False for an operation that does not exist."""
    access = OPERATIONS.get(operation)
    return access is not None and access in accesses(role)


def check_may(role: Role, operation: str) -> None:
    """Raise ForbiddenError unless `role` may do `operation`, WireError if there is no such operation."""
    if operation not in OPERATIONS:
        raise WireError(f"A session has no operation {operation[:40]!r}; it has {', '.join(OPERATIONS)}")
    if not may(role, operation):
        raise ForbiddenError(f"The role {role} may not {operation}; {_least(operation)} may")


def _least(operation: str) -> Role:
    return next(role for role in ROLES if may(role, operation))
