"""An API that no handler knows, and a code cache with a log, for each test."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from broker_plane.errors import StorageError
from broker_plane.runtime.wiring import Wiring
from tests.levels.api import PagedApi, Plant, paged_api, plant


@pytest.fixture
def api() -> Iterator[PagedApi]:
    with paged_api() as server:
        yield server


@pytest.fixture
async def buckets(wiring: Wiring) -> AsyncIterator[str]:
    """The beginning of the names of two buckets, whose room is given back."""
    name = f"bp_t{secrets.token_hex(4)}"
    yield name
    for bucket in (f"{name}_code", f"{name}_runs"):
        try:
            await wiring.connection.api(f"STREAM.DELETE.KV_{bucket}")
        except StorageError as error:
            assert "not found" in error.reason  # the test did not need it


@pytest.fixture
def planted(wiring: Wiring, buckets: str) -> Plant:
    return plant(wiring.connection, buckets)
