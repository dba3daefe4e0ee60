"""A pass leaves no orphan older than ten minutes and takes no body away, whatever goes on meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import cast

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker_plane.errors import ConflictError
from broker_plane.plane.ports import EntryStore
from broker_plane.plane.reclaim.orphans import ELECTED_SECONDS, ORPHAN_SECONDS, OrphanCollector
from broker_plane.wire.names import BodyId, body_id
from tests.examples import examples


@dataclass
class Put:
    """A body on its way into the store, or there: when each of its chunks came, by place."""

    chunks: dict[int, float] = field(default_factory=dict)
    written: int = 0
    committed: bool = False
    abandoned: bool = False
    barred: bool = False

    def commit(self) -> None:
        """As the store does it: of a put that was barred nothing is kept."""
        self.committed, self.abandoned = not self.barred, self.barred

    @property
    def whole(self) -> bool:
        return len(self.chunks) == self.written


class Store:
    """The Swept port in memory. Between any two of its answers, those who put bodies go on."""

    def __init__(self) -> None:
        self.time = 1_000.0
        self.puts: dict[str, Put] = {}
        self.dice: Random | None = None
        self._places = 0

    def write(self, put: Put) -> None:
        self._places += 1
        put.chunks[self._places] = self.time
        put.written += 1

    def live(self) -> list[Put]:
        return [put for put in self.puts.values() if not put.committed and not put.abandoned]

    def meanwhile(self) -> None:
        if self.dice is None:
            return
        for put in self.live():
            if self.dice.random() < 0.5:
                self.write(put)
            if self.dice.random() < 0.5:
                put.commit()

    async def owners(self) -> list[str]:
        self.meanwhile()
        return ["local"]

    async def chunked(self, owner: str) -> set[BodyId]:
        found = {cast("BodyId", name) for name, put in self.puts.items() if put.chunks}
        self.meanwhile()
        return found

    async def committed(self, owner: str) -> set[BodyId]:
        found = {cast("BodyId", name) for name, put in self.puts.items() if put.committed}
        self.meanwhile()
        return found

    async def now(self, owner: str) -> float:
        return self.time

    async def bar(self, owner: str, body_id: BodyId) -> bool:
        put = self.puts[body_id]
        barred = not put.committed
        put.barred = put.barred or barred
        self.meanwhile()
        return barred

    async def newest(self, owner: str, body_id: BodyId) -> tuple[float, int] | None:
        chunks = self.puts[body_id].chunks
        found = (chunks[max(chunks)], max(chunks)) if chunks else None
        self.meanwhile()
        return found

    async def free(self, owner: str, body_id: BodyId, up_to: int) -> None:
        put = self.puts[body_id]
        put.chunks = {place: at for place, at in put.chunks.items() if place > up_to}


class States:
    """The EntryStore port with one clock, by which entries end."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._entries: dict[str, tuple[bytes, int, float]] = {}

    async def load(self, grant_id: str) -> tuple[bytes | None, int]:
        entry, revision, until = self._entries.get(grant_id, (None, 0, 0.0))
        return (entry if until > self._store.time else None), revision

    async def save(self, grant_id: str, entry: bytes, revision: int, ttl_seconds: int, *, passing: bool = False) -> int:
        if self._entries.get(grant_id, (b"", 0))[1] != revision:
            raise ConflictError("another was faster")
        self._entries[grant_id] = (entry, revision + 1, self._store.time + ttl_seconds)
        return revision + 1


def sweeper(store: Store, states: States, name: str) -> OrphanCollector:
    return OrphanCollector(cast("EntryStore", states), store, name)


class Sweeping(RuleBasedStateMachine):
    """Those who put write at least every nine minutes, or are gone."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.swept = sweeper(self.store, States(self.store), "one")
        self.stepped = False

    @rule(chunks=st.integers(1, 3))
    def begin(self, chunks: int) -> None:
        put = Put()
        for _ in range(chunks):
            self.store.write(put)
        self.store.puts[body_id(len(self.store.puts).to_bytes(16, "big"))] = put

    @precondition(lambda self: self.store.live())
    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        put = data.draw(st.sampled_from(self.store.live()))
        how = data.draw(st.sampled_from(("write", "commit", "abandon")))
        if how == "write":
            self.store.write(put)
        elif how == "commit":
            put.commit()
        else:
            put.abandoned = True

    @rule(seconds=st.integers(1, 540))
    def wait(self, seconds: int) -> None:
        for put in self.store.live():
            newest = max(put.chunks.values(), default=0.0)  # none where a sweep took them after a step
            if self.store.time - newest + seconds >= ORPHAN_SECONDS:
                self.store.write(put)
        self.store.time += seconds

    @rule(seconds=st.sampled_from([601, 1200, 3600, 86_400, -601, -1200, -3600, -86_400]))
    def step_the_clock(self, seconds: int) -> None:
        self.store.time += seconds
        self.stepped = True

    @rule(seconds=st.integers(600, 4000))
    def die_all_and_wait(self, seconds: int) -> None:
        for put in self.store.live():
            put.abandoned = True
        self.store.time += seconds

    @rule(seed=st.none() | st.integers(0, 2**32))
    def sweep(self, seed: int | None) -> None:
        self.store.dice = None if seed is None else Random(seed)
        asyncio.run(self.swept.sweep())
        self.store.dice = None
        for put in self.store.puts.values():
            if not put.committed:
                newest = max(put.chunks.values(), default=self.store.time)
                assert newest > self.store.time - ORPHAN_SECONDS or not put.abandoned

    @invariant()
    def every_body_is_whole_whatever_the_clock_does(self) -> None:
        assert all(put.whole for put in self.store.puts.values() if put.committed)

    @invariant()
    def every_living_put_is_whole_where_the_clock_did_not_step(self) -> None:
        assert self.stepped or all(put.whole for put in self.store.live())


TestSweeping = Sweeping.TestCase
TestSweeping.settings = settings(max_examples=examples(0.6), stateful_step_count=30, deadline=None)


@pytest.mark.anyio
async def test_one_of_many_bridges_sweeps_and_another_one_when_that_is_gone() -> None:
    store = Store()
    states = States(store)
    bridges = [sweeper(store, states, str(number)) for number in range(5)]
    for _ in range(3):
        assert [await bridge.turn() for bridge in bridges] == [True, False, False, False, False]
        store.time += 60
    store.time += ELECTED_SECONDS
    assert [await bridge.turn() for bridge in bridges[1:]] == [True, False, False, False]
    assert not await bridges[0].turn()
    store.time += ELECTED_SECONDS
    assert await asyncio.gather(*(bridge.turn() for bridge in bridges)) == [True, False, False, False, False]
