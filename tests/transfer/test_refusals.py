"""What is refused: the error says which, and nothing is written."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker_plane.client.trust import Trust
from broker_plane.errors import (
    BrokerPlaneError,
    DescriptorExpiredError,
    ForbiddenPathError,
    RedirectedError,
    TooLargeError,
    TransferError,
    UntrustedHostError,
    WrongChecksumError,
    WrongCompressionError,
    WrongSizeError,
)
from broker_plane.testing.processes import memory
from broker_plane.transfer.fetch import Transfers
from broker_plane.transfer.reach import Reach
from tests.transfer.conftest import BODY, describe
from tests.transfer.servers import WebServer

pytestmark = pytest.mark.anyio
PAST = datetime(2020, 1, 1, tzinfo=UTC).isoformat()
SIZE = len(BODY)
ONE_BYTE_OFF = "sha256:" + hashlib.sha256(BODY[:-1] + b"\x01").hexdigest()

SPELLINGS = [
    "http://127.0.0.1:{port}/body",
    "http://127.1:{port}/body",
    "http://127.0.1:{port}/body",
    "http://2130706433:{port}/body",
    "http://0x7f000001:{port}/body",
    "http://0x7f.0.0.1:{port}/body",
    "http://0x7f.1:{port}/body",
    "http://0177.0.0.1:{port}/body",
    "http://017700000001:{port}/body",
    "http://0:{port}/body",
    "http://0.0.0.0:{port}/body",
    "http://127.0.0.2:{port}/body",
    "http://127.255.255.254:{port}/body",
    "http://localhost:{port}/body",
    "http://LOCALHOST:{port}/body",
    "http://[::127.0.0.1]:{port}/body",
    "http://[::1]:{port}/body",
    "http://[0:0:0:0:0:0:0:1]:{port}/body",
    "http://[::]:{port}/body",
    "http://[::ffff:127.0.0.1]:{port}/body",
    "http://[::ffff:7f00:1]:{port}/body",
    "http://[64:ff9b::7f00:1]:{port}/body",
    "http://[2002:7f00:1::]:{port}/body",
    "http://[fe80::1]:{port}/body",
    "http://[fc00::1]:{port}/body",
    "http://10.0.0.1:{port}/body",
    "http://172.16.0.1:{port}/body",
    "http://192.168.0.1:{port}/body",
    "http://169.254.169.254/latest/meta-data",
    "http://100.64.0.1:{port}/body",
    "http://user@127.0.0.1:{port}/body",
    "https://127.0.0.1:{port}/body",
]


def all_of(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


def nothing_in(directory: Path) -> bool:
    return not all_of(directory)


@pytest.mark.parametrize(
    ("path", "fields", "error"),
    [
        ("/body", {"checksum": ONE_BYTE_OFF}, WrongChecksumError),
        ("/body", {"expires": PAST}, DescriptorExpiredError),
        ("/body", {"size_hint": SIZE - 1}, WrongSizeError),
        ("/body", {"size_hint": SIZE + 1}, WrongSizeError),
        ("/body", {"size_hint": 1 << 40}, TooLargeError),
        ("/body", {"compression": "gzip"}, WrongCompressionError),
        ("/body", {"compression": "zstd"}, WrongCompressionError),
        ("/gzip", {}, WrongCompressionError),
        ("/gzip", {"compression": "zstd"}, WrongCompressionError),
        ("/cut.gz", {"compression": "gzip"}, WrongCompressionError),
        ("/elsewhere", {}, RedirectedError),
        ("/nothing", {}, TransferError),
        ("/body", {"mode": "push"}, TransferError),
    ],
)
async def test_a_transfer_that_is_not_as_described(
    transfers: Transfers, server: WebServer, tmp_path: Path, path: str, fields: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error) as raised:
        await transfers.fetch_to(describe("http", server.url + path, **fields), tmp_path / "out")
    assert type(raised.value) is error
    assert nothing_in(tmp_path)


async def test_one_changed_byte(transfers: Transfers, server: WebServer, tmp_path: Path) -> None:
    server.body = BODY[:77] + bytes([BODY[77] ^ 1]) + BODY[78:]
    with pytest.raises(WrongChecksumError):
        await transfers.fetch_to(describe("http", server.url + "/body"), tmp_path / "out")
    assert nothing_in(tmp_path)


@pytest.mark.parametrize("name", ["bomb.gz", "bomb.zst"])
@pytest.mark.parametrize("said", [None, 1_000_000])
async def test_a_bomb_is_refused_within_bounded_memory(
    transfers: Transfers, server: WebServer, tmp_path: Path, name: str, said: int | None
) -> None:
    compression = {"bomb.gz": "gzip", "bomb.zst": "zstd"}[name]
    descriptor = describe("http", f"{server.url}/{name}", compression=compression, size_hint=said, checksum=None)
    server_side = memory()["VmRSS"]
    with pytest.raises(WrongSizeError if said else TooLargeError):
        await transfers.fetch_to(descriptor, tmp_path / "out")
    assert nothing_in(tmp_path)
    assert memory()["VmRSS"] - server_side < 200_000_000  # the server in this process makes the bomb itself


@pytest.mark.parametrize("url", SPELLINGS)
async def test_every_spelling_of_an_inner_address(server: WebServer, tmp_path: Path, url: str) -> None:
    transfers = Transfers(Reach(trust=Trust()), max_bytes=64 << 20)
    protocol = url.partition(":")[0]
    with pytest.raises(UntrustedHostError):
        await transfers.fetch_to(describe(protocol, url.format(port=server.server_port)), tmp_path / "out")
    assert not server.asked
    assert nothing_in(tmp_path)


@pytest.mark.parametrize("url", SPELLINGS)
async def test_no_push_leads_inside(server: WebServer, tmp_path: Path, url: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(BODY)
    transfers = Transfers(Reach(trust=Trust()), max_bytes=64 << 20)
    descriptor = describe(url.partition(":")[0], url.format(port=server.server_port), mode="push")
    with pytest.raises(UntrustedHostError):
        await transfers.push(descriptor, file)
    with pytest.raises(UntrustedHostError):
        await transfers.push_through(descriptor, file, tmp_path / "out")
    assert not server.put
    assert [path.name for path in all_of(tmp_path)] == ["secret"]


async def test_a_push_is_not_redirected(transfers: Transfers, server: WebServer, tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_bytes(BODY)
    with pytest.raises(RedirectedError):
        await transfers.push(describe("http", server.url + "/elsewhere", mode="push"), file)
    with pytest.raises(DescriptorExpiredError):
        await transfers.push(describe("http", server.url + "/in", mode="push", expires=PAST), file)
    assert not server.put


@pytest.mark.parametrize("scheme", ["ws", "http"])
async def test_no_stream_is_followed_inside(server: WebServer, scheme: str) -> None:
    """But for those of a bridge, whose address has a grant in it."""
    transfers = Transfers(Reach(trust=Trust()), max_bytes=64 << 20)
    protocol = {"http": "sse"}.get(scheme, scheme)
    for path in ("/v1/streams/none", "/admin"):
        descriptor = describe(protocol, f"{scheme}://127.0.0.1:{server.server_port}{path}", mode="stream")
        with pytest.raises(UntrustedHostError):
            await anext(transfers.follow(descriptor))
    assert not server.asked


@pytest.mark.parametrize("protocol", ["ws", "mqtt", "sftp", "sse"])
async def test_no_other_protocol_leads_inside(server: WebServer, protocol: str) -> None:
    scheme = {"sse": "http"}.get(protocol, protocol)
    descriptor = describe(
        protocol, f"{scheme}://127.0.0.1:{server.server_port}/t", host_key="x", stream={"end_signal": "e"}
    )
    with pytest.raises(UntrustedHostError):
        await Transfers(Reach(trust=Trust()), max_bytes=64 << 20).fetch(descriptor)


@pytest.mark.parametrize(
    "endpoint", ["/etc/passwd", "../secret", "{dir}/../secret", "{dir}/link", "file:///etc/passwd"]
)
async def test_fs_reads_only_what_the_user_named(tmp_path: Path, endpoint: str) -> None:
    shown = tmp_path / "shown"
    shown.mkdir()
    (tmp_path / "secret").write_bytes(BODY)
    (shown / "link").symlink_to(tmp_path / "secret")
    transfers = Transfers(Reach(trust=Trust(), directories=[shown]), max_bytes=64 << 20)
    with pytest.raises(ForbiddenPathError):
        await transfers.fetch(describe("fs", endpoint.format(dir=shown)))


async def test_a_cancelled_fetch_leaves_nothing(transfers: Transfers, server: WebServer, tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def progress(done: int, total: int | None) -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(transfers.fetch_to(describe("http", server.url + "/body"), tmp_path / "out", progress))
    await asyncio.wait_for(begun.wait(), 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert nothing_in(tmp_path)


async def test_no_error_names_the_endpoint(transfers: Transfers, server: WebServer) -> None:
    for path in ("/nothing?key=canary", "/elsewhere?key=canary"):
        with pytest.raises(BrokerPlaneError) as raised:
            await transfers.fetch(describe("http", server.url + path))
        assert "canary" not in str(raised.value)
