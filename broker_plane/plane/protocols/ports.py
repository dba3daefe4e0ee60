"""The ports of the registry of protocols: the owner's signing keys, and which keys this machine has seen of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from broker_plane.registry.signing import SigningKey


class OwnerSigningKeys(Protocol):
    """The private keys of one owner."""

    def held(self) -> Sequence[SigningKey]:
        """The keys, newest first; the first one is created if there is none.

        Raises:
            ConfigError: they cannot be read or stored.
        """

    def add(self) -> SigningKey:
        """Create and store a newer key; the one before is kept, older ones are forgotten."""


class KnownOwners(Protocol):
    """The public key of each owner as this machine saw it last. The first one that is seen is trusted."""

    def key_of(self, owner: str) -> str:
        """The key; empty if the owner was never seen."""

    def remember(self, owner: str, key: str) -> None:
        """Store the key. A failure is logged: then the next process trusts what it sees first."""
