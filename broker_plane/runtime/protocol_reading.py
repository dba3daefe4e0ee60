"""What reads the registry in a process: a bridge needs no more of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from broker_plane.config import Settings
from broker_plane.plane.ports import Bucket
from broker_plane.plane.protocols.counts import UsageCounts
from broker_plane.plane.protocols.owners import OwnerPins
from broker_plane.plane.protocols.reader import ProtocolReader
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.buckets import NatsBucket
from broker_plane.storage.known_owners import KnownOwnersFile


@dataclass(frozen=True, slots=True)
class ProtocolReading:
    """The reader of the registry, and the pins and counters that it uses."""

    bucket: Bucket
    pins: OwnerPins
    counts: UsageCounts
    reader: ProtocolReader

    @classmethod
    def of(cls, bucket: Bucket, settings: Settings, *, fresh_seconds: float = 0.0) -> ProtocolReading:
        """With `fresh_seconds`, a listing may be that old."""
        pins = OwnerPins(bucket, KnownOwnersFile(protocols_folder(settings) / "known_owners"))
        counts = UsageCounts(bucket)
        return cls(bucket, pins, counts, ProtocolReader(bucket, pins, counts, fresh_seconds=fresh_seconds))

    async def close(self) -> None:
        """Add what was counted to the figures of the plane."""
        await self.counts.close()


def protocols_folder(settings: Settings) -> Path:
    """The directory with this owner's signing key and the keys of others."""
    return settings.data_dir / "protocols"


def registry_bucket(wiring: Wiring) -> NatsBucket:
    """The bucket of the registry."""
    return NatsBucket(wiring.connection, wiring.connection.names.registry_bucket)
