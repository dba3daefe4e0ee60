"""tus-js-client uploads through a proxy that cuts its connections, in its own dialect and in the IETF's."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker_plane.runtime.wiring import Wiring
from broker_plane.testing.proxy import CuttingProxy
from tests.bridge.uploads import UploadBridge, taking_uploads
from tests.interop.conftest import HERE, answer, npm_installed

pytestmark = pytest.mark.anyio
SIZE = 5_000_000
CUTS = [1_100_000, 300_000, 40_000, 1_500_000, 800_000]


@pytest.fixture(scope="session")
def tus_modules() -> Path:
    return npm_installed("tus", "tus-js-client@4.3.1")


@pytest.fixture
async def bridge(wiring: Wiring) -> AsyncIterator[UploadBridge]:
    async with taking_uploads(wiring) as serving:
        yield serving


@pytest.mark.parametrize("protocol", ["tus-v1", "ietf-draft-05"])
@pytest.mark.parametrize("chunk", [None, 2_000_001])
async def test_five_megabytes_arrive_whole_through_five_cuts(
    bridge: UploadBridge, tus_modules: Path, tmp_path: Path, protocol: str, chunk: int | None
) -> None:
    data = random.Random(5).randbytes(SIZE)
    file = tmp_path / "clip.bin"
    file.write_bytes(data)
    grant = await bridge.grant()
    async with CuttingProxy(bridge.url, request_cuts=CUTS) as proxy:
        question = {
            "url": grant.upload_url.replace(bridge.url, proxy.url),
            "path": str(file),
            "protocol": protocol,
            "chunkSize": chunk,
        }
        said = await answer(["node", HERE / "tus_upload.cjs"], question, {"NODE_PATH": str(tus_modules)}, tmp_path)
        assert proxy.cut == len(CUTS)
    stored = await bridge.wiring.store.info("local", grant.body_id)
    assert stored.size == SIZE
    assert await bridge.stored(grant.upload_url, said["location"]) == data
    if protocol == "tus-v1":
        assert (stored.name, stored.media_type) == ("clip.bin", "video/mp4")
