"""A plane in memory: one body, real grants and real deliveries over it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from hashlib import sha256
from itertools import islice
from typing import Any, cast

from broker_plane.plane.audit import Auditor, NoAudit
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.grants.grants import Grants
from broker_plane.plane.ports import BodyStore, Broker, EntryStore
from broker_plane.plane.reclaim.when_used import UsedBodyCollector
from broker_plane.tabular.codec import FrameWriter
from broker_plane.tabular.frame import frame_of
from broker_plane.wire.body import ROWS_TYPE, BodyInfo, TablePlace
from broker_plane.wire.grant import Key
from broker_plane.wire.names import body_id

KEY = Key(b"k" * 32)
NOW = 1_800_000_000.0


class States:
    """The EntryStore port."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[bytes, int]] = {}
        self.ttls: list[int] = []

    async def load(self, grant_id: str) -> tuple[bytes | None, int]:
        return self.entries.get(grant_id, (None, 0))

    async def save(self, grant_id: str, entry: bytes, revision: int, ttl_seconds: int, *, passing: bool = False) -> int:
        assert self.entries.get(grant_id, (b"", 0))[1] == revision
        self.entries[grant_id] = (entry, revision + 1)
        self.ttls.append(ttl_seconds)
        return revision + 1


class Keys:
    """The Keys port."""

    async def sealing(self) -> Key:
        return KEY

    async def opening(self, key_id: bytes) -> list[tuple[str, Key]]:
        return [("local", KEY)] if key_id == KEY.id else []


class Bodies:
    """As much of the BodyStore port as a delivery needs, for one body."""

    def __init__(self, body: BodyInfo, raw: bytes) -> None:
        self.body = body
        self.raw = raw
        self.reads = 0
        self.infos = 0

    async def info(self, owner: str, body_id: str) -> BodyInfo:
        self.infos += 1
        return self.body

    def held(self, body: BodyInfo) -> bytes | None:
        """Nothing is kept in memory."""
        return None

    async def read(self, body: BodyInfo, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        self.reads += 1
        yield self.raw[start:stop]


class Memory:
    """`rows` as a body with frames of `frame_rows`, and everything that delivers it."""

    def __init__(self, rows: Iterable[dict[str, Any]], frame_rows: int = 7) -> None:
        self.states = States()
        self.now = NOW
        count = iter(range(1_000_000))
        clock: dict[str, Any] = {
            "now": lambda: self.now,
            "random_bytes": lambda size: next(count).to_bytes(size, "big"),
        }
        self.bodies = Bodies(*_stored(rows, frame_rows))
        self.body = self.bodies.body
        store, states = cast("BodyStore", self.bodies), cast("EntryStore", self.states)
        audit = Auditor(NoAudit(), clock["now"])
        collecting = UsedBodyCollector(states, store, audit, **clock)
        self.grants = Grants(states, Keys(), audit=audit, collecting=collecting, **clock)
        self.deliveries = Deliveries.of(store, self.grants, cast("Broker", None))

    async def mint(self, *, uses: int = 0, ttl: int = 600) -> str:
        return await self.grants.minting.mint(self.body, uses=uses, ttl=ttl)

    async def shown(self, grant: str, who: str = "") -> tuple[tuple[str, ...], list[dict[str, Any]]]:
        """The columns that `grant` shows, and its rows with their ids, as a delivery has them."""
        body = await self.deliveries.find(await self.deliveries.open(grant, who))
        frames = [frame async for frame in self.deliveries.frames.decoded(body)]
        rows = [row for frame in frames for row in frame.rows(with_ids=True)]
        assert len(rows) == body.info.rows
        return body.info.columns, rows


def _stored(rows: Iterable[dict[str, Any]], frame_rows: int) -> tuple[BodyInfo, bytes]:
    writer = FrameWriter()
    source = iter(rows)
    pieces = [writer.begin()]
    while batch := list(islice(source, frame_rows)):
        pieces.append(writer.frame(frame_of(batch, writer.table.rows)))
    pieces.append(writer.end())
    raw = b"".join(pieces)
    table = TablePlace(
        offset=writer.table_offset, size=len(writer.table_bytes), digest=sha256(writer.table_bytes).hexdigest()
    )
    body = BodyInfo(
        id=body_id(b"b" * 16),
        owner="local",
        kind="rows",
        size=len(raw),
        digest=sha256(raw).hexdigest(),
        media_type=ROWS_TYPE,
        created=NOW,
        expires=int(NOW) + 3600,
        rows=writer.table.rows,
        columns=tuple(writer.table.columns),
        table=table,
        chunks=1,
        chunk_bytes=1 << 20,
        runs=((1, 1),),
    )
    return body, raw
