"""Downloads that are cut at random bytes: they finish with the same digest, and send next to nothing again."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from broker_plane import Plane
from broker_plane.config import Settings
from broker_plane.errors import TransferInterruptedError
from broker_plane.testing.proxy import CuttingProxy
from broker_plane.transfer.fetch import Transfers
from tests.transfer import conftest
from tests.transfer.conftest import describe
from tests.transfer.servers import WebServer
from tests.transfer.test_refusals import nothing_in

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


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/body", {"checksum": None}),  # the strong ETag holds the parts together
        ("/weak", {}),  # the checksum does
        ("/raw.gz", {"compression": "gzip"}),
        ("/whole", {}),  # the endpoint has no ranges: what is here already is passed over
    ],
)
async def test_cut_downloads_from_another_s_server(
    transfers: Transfers, server: WebServer, tmp_path: Path, path: str, fields: dict[str, Any]
) -> None:
    async with CuttingProxy(server.url, cuts=[400_000, 200_000, 1, 90_000]) as proxy:
        await transfers.fetch_to(describe("http", proxy.url + path, **fields), tmp_path / "out")
    assert proxy.cut >= 3
    assert (tmp_path / "out").read_bytes() == conftest.BODY


async def test_parts_that_nothing_holds_together_are_not_put_together(
    transfers: Transfers, server: WebServer, tmp_path: Path
) -> None:
    async with CuttingProxy(server.url, cuts=[400_000]) as proxy:
        with pytest.raises(TransferInterruptedError, match="closed the connection"):
            await transfers.fetch_to(describe("http", proxy.url + "/weak", checksum=None), tmp_path / "out")
    assert nothing_in(tmp_path)


async def test_a_body_that_changes_while_it_is_fetched_is_refused(
    transfers: Transfers, server: WebServer, tmp_path: Path
) -> None:
    def changed(done: int, total: int | None) -> None:
        server.etag = '"2"'

    async with CuttingProxy(server.url, cuts=[400_000]) as proxy:
        with pytest.raises(TransferInterruptedError, match="changed"):
            await transfers.fetch_to(
                describe("http", proxy.url + "/body", checksum=None), tmp_path / "out", progress=changed
            )
    assert nothing_in(tmp_path)
