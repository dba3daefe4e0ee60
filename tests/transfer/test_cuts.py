"""Downloads that are cut at random bytes: they finish with the same digest, and send next to nothing again."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from broker_plane.config import Settings
from broker_plane.runtime.connect import Plane
from broker_plane.testing.proxy import CuttingProxy
from broker_plane.transfer.fetch import Transfers
from tests.transfer.conftest import describe

pytestmark = pytest.mark.anyio
BODY = random.Random(8).randbytes(4_000_000)


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.full)])
async def test_cut_downloads_from_our_bridge(
    transfers: Transfers, settings: Settings, tmp_path: Path, count: int
) -> None:
    chance = random.Random(9)
    received = cuts = 0
    async with Plane.connect(settings) as plane:
        for number in range(count):
            published = await plane.publish(BODY, uses=1)
            where = [chance.randrange(1, len(BODY) // 2) for _ in range(2)]
            async with CuttingProxy(plane.bridge_url, cuts=where) as proxy:
                url = published.resource_url.replace(plane.bridge_url, proxy.url)
                done = await transfers.fetch_to(
                    describe("http", url, size_hint=len(BODY), checksum=f"sha256:{published.body.digest}"),
                    tmp_path / str(number),
                )
                assert done.size == len(BODY)
                assert done.path.read_bytes() == BODY
                received += proxy.received
                cuts += proxy.cut
    assert cuts == 2 * count
    assert received < 1.05 * count * len(BODY), f"{received / (count * len(BODY)) - 1:.1%} came again"
    print(f"{count} downloads, {cuts} cuts, {received / (count * len(BODY)) - 1:.2%} sent again")
