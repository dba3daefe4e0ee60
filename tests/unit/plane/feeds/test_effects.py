"""Effects by idempotency key and the checkpoint, when answers are lost and subscribers race."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from broker_plane.errors import BrokerUnavailableError, ConflictError, NotPermittedError
from broker_plane.plane.feeds.effects import Checkpoint, EffectLog, SubscriberState

pytestmark = pytest.mark.anyio


class Store:
    """The EntryStore port in memory. `after` is called once, after the next entry was written."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[bytes, int]] = {}
        self.after: Callable[[], None] | None = None

    async def load(self, key: str) -> tuple[bytes | None, int]:
        return self.entries.get(key, (None, 0))

    async def save(self, key: str, entry: bytes, revision: int, ttl_seconds: int, *, passing: bool = False) -> int:
        if self.entries.get(key, (b"", 0))[1] != revision:
            raise ConflictError("another revision")
        self.entries[key] = (entry, revision + 1)
        if self.after is not None:
            after, self.after = self.after, None
            after()
        return revision + 1


@pytest.fixture
def store() -> Store:
    return Store()


async def apply(log: EffectLog, sequence: int, value: Any) -> tuple[bool, Any]:
    """Whether the notice was fresh, and the value before it."""
    async with log.once("key", sequence) as effect:
        found = (effect.fresh, effect.value)
        effect.value = value
    return found


async def test_an_effect_is_applied_once_for_each_notice_in_order(store: Store) -> None:
    log = EffectLog(store, "email")
    assert await apply(log, 10, "a") == (True, None)
    assert await apply(log, 10, "repeated") == (False, "a")
    assert await apply(log, 20, "b") == (True, "a")
    assert await apply(log, 10, "late") == (False, "b")
    assert await log.read("key") == "b"
    assert await log.read("another") is None


async def test_durables_and_keys_have_entries_of_their_own(store: Store) -> None:
    await apply(EffectLog(store, "email"), 10, "a")
    assert await apply(EffectLog(store, "push"), 10, "b") == (True, None)


async def test_an_effect_whose_block_fails_is_not_applied(store: Store) -> None:
    log = EffectLog(store, "email")
    with pytest.raises(ValueError, match="no mailbox"):
        async with log.once("key", 10):
            raise ValueError("no mailbox")
    assert await apply(log, 10, "a") == (True, None)


async def test_a_write_whose_answer_was_lost_counts_once(store: Store) -> None:
    def lose() -> None:
        raise BrokerUnavailableError("the answer was lost")

    log = EffectLog(store, "email")
    store.after = lose
    assert await apply(log, 10, "a") == (True, None)
    assert await apply(log, 10, "b") == (False, "a")


@pytest.mark.parametrize(("other", "lost"), [(10, True), (20, False), (30, False)])
async def test_of_two_subscribers_that_race_the_one_with_the_later_notice_wins(
    store: Store, other: int, lost: bool
) -> None:
    async def slow(log: EffectLog) -> None:
        async with log.once("key", 20) as effect:
            await apply(log, other, "the other's")
            effect.value = "ours"

    log = EffectLog(store, "email")
    if lost:
        with pytest.raises(ConflictError, match="redelivered"):
            await slow(log)
    else:
        await slow(log)
    assert await log.read("key") == "the other's"


async def test_the_checkpoint_only_advances(store: Store) -> None:
    checkpoint = Checkpoint(store, "email")
    assert await checkpoint.load() == 0
    for version, stored in ((3, 3), (2, 3), (3, 3), (7, 7)):
        await checkpoint.save(version)
        assert await checkpoint.load() == stored
    assert await Checkpoint(store, "push").load() == 0


async def test_a_guest_has_a_checkpoint_in_memory_and_no_effects() -> None:
    state = SubscriberState(None, "stats_feeds")
    await state.advance(3)
    await state.advance(2)
    assert await state.checkpoint() == 3
    with pytest.raises(NotPermittedError, match="Guests"):
        state.once("key", 10)
