"""The pinned keys of owners: read from the bucket, and compared with what this machine has seen before."""

from __future__ import annotations

from dataclasses import dataclass

from broker_plane.errors import EntryNotFoundError
from broker_plane.plane.ports import Bucket
from broker_plane.plane.protocols.ports import KnownOwners
from broker_plane.registry.entry_names import owner_entry
from broker_plane.registry.records import OwnerRecord, Pin, check_owner, parse_owner_record


@dataclass(frozen=True, slots=True)
class PinnedOwner:
    """An owner's keys, verified, and the revision of their entry."""

    record: OwnerRecord
    pin: Pin
    revision: int


class OwnerPins:
    """An owner is the one who has the key that the first publication pinned, or a successor that it signed."""

    def __init__(self, bucket: Bucket, known: KnownOwners) -> None:
        self._bucket = bucket
        self._known = known

    async def load(self, owner: str) -> PinnedOwner:
        """The keys of an owner.

        Raises:
            EntryNotFoundError: the owner has published nothing. SignatureError: the keys are not to be believed.
        """
        raw, revision = await self._bucket.load(owner_entry(owner))
        if raw is None:
            raise EntryNotFoundError(f"Nobody has published a protocol as {owner}")
        record = parse_owner_record(raw, owner)
        return PinnedOwner(record, self.check(record, owner), revision)

    def check(self, record: OwnerRecord, owner: str) -> Pin:
        """The pin of an owner, which is remembered from now on. Raises SignatureError as `check_owner`."""
        known = self._known.key_of(owner)
        pin = check_owner(record, owner, known)
        if pin.key != known:
            self._known.remember(owner, pin.key)
        return pin
