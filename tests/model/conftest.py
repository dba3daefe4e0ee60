"""One world for all tests of a worker, and a ledger for each test."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.model.hand import Hand
from tests.model.ledger import Ledger
from tests.model.world import World
from tests.model.world import world as running


@pytest.fixture(scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with running(tmp_path_factory.mktemp("model")) as made:
        yield made


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def hand(world: World, ledger: Ledger) -> Iterator[Hand]:
    hand = Hand(world, ledger, random.Random(11))
    yield hand
    hand.close()
