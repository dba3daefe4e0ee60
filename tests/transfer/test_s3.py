"""s3-presigned against moto's server, which runs in an environment of its own: boto3 makes the URLs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker_plane.testing.proxy import CuttingProxy
from broker_plane.testing.server import wait_for
from broker_plane.transfer.fetch import Transfers
from tests.interop.conftest import answer
from tests.interop.environments import python_with
from tests.ports import free_port
from tests.transfer.conftest import BODY, describe

pytestmark = pytest.mark.anyio
MOTO = "moto[server,s3]==5.2.5"
PART = 6 << 20
LARGE = BODY * 10
HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def moto_python() -> Path:
    return python_with("moto", MOTO)


@pytest.fixture
def s3(moto_python: Path) -> Iterator[str]:
    port = free_port()
    command = [str(moto_python.with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout
    output = process.stdout
    wait_for(lambda: "Running on" in output.readline(), "moto to listen")
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.communicate(timeout=20)


async def test_presigned_urls_get_put_and_multipart(
    transfers: Transfers, moto_python: Path, s3: str, tmp_path: Path
) -> None:
    (tmp_path / "body").write_bytes(BODY)
    large = tmp_path / "large"
    large.write_bytes(LARGE)
    parts = -(-len(LARGE) // PART)
    question = {"url": s3, "file": str(tmp_path / "body"), "parts": parts}
    urls = await answer([moto_python, HERE / "presign.py"], question, {}, tmp_path)
    assert await transfers.fetch(describe("s3-presigned", urls["get"])) == BODY
    async with CuttingProxy(s3, cuts=[300_000, 500_000]) as proxy:
        assert await transfers.fetch(describe("s3-presigned", urls["get"].replace(s3, proxy.url))) == BODY
        assert proxy.cut == 2
    await transfers.push(describe("s3-presigned", urls["put"], mode="push"), tmp_path / "body")
    assert await transfers.fetch(describe("s3-presigned", urls["got_single"])) == BODY
    multipart = {"part_size": PART, "parts": urls["parts"], "complete": urls["complete"]}
    seen: list[int] = []
    await transfers.push(
        describe("s3-presigned", urls["put"], mode="push", multipart=multipart),
        large,
        lambda done, _: seen.append(done),
    )
    assert seen[-1] == len(LARGE)
    stored = describe("s3-presigned", urls["got_parts"], size_hint=len(LARGE), checksum=None)
    assert await transfers.fetch(stored) == LARGE
