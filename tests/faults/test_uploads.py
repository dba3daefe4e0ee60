"""Uploads while what they go through is killed: offsets are of acknowledged chunks, so nothing is lost or mixed."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import httpx2
import pytest

from tests.faults.conftest import Home

pytestmark = pytest.mark.anyio
SIZE = 24_000_000
DATA = random.Random(7).randbytes(SIZE)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("upload") / "large.bin"
    path.write_bytes(DATA)
    return path


async def test_bridge_and_nats_server_are_killed_in_the_middle(home: Home, file: Path) -> None:
    killing = {6_000_000: ("bridge",), 12_000_000: ("nats",), 18_000_000: ("bridge", "nats")}

    def progress(at: int, total: int | None) -> None:
        for place in [place for place in killing if at > place]:
            home.kill(*killing.pop(place))

    async with home.connect() as plane:
        grant = await plane.uploads.grant(ttl=300, uses="unlimited")
        done = await plane.upload(grant.upload_url, file, progress=progress)
        assert not killing
        assert done.digest == hashlib.sha256(DATA).hexdigest()
        assert await plane.pull(done.resource_url) == DATA


async def test_a_killed_client_s_upload_is_continued_by_another(home: Home, file: Path) -> None:
    async with home.connect() as plane:
        grant = await plane.uploads.grant(ttl=300, uses="unlimited")
        client = home.run("broker_plane.cli.main", "upload", file, grant.upload_url)
        async with httpx2.AsyncClient(trust_env=False) as http:
            while int((await http.head(grant.upload_url)).headers["upload-offset"]) < 1_000_000:
                pass
            client.kill()
            kept = int((await http.head(grant.upload_url)).headers["upload-offset"])
        done = await plane.upload(grant.upload_url, file)
        assert done.sent <= SIZE - kept
        assert done.digest == hashlib.sha256(await plane.pull(done.resource_url)).hexdigest()
