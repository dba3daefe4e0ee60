"""The same body in every protocol: each handler gives the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker_plane import Plane
from broker_plane.client.http import verifying
from broker_plane.config import Settings
from broker_plane.errors import AuthFailedError, TransferInterruptedError, UnsupportedProtocolError
from broker_plane.transfer.fetch import Transfers
from tests.transfer.conftest import BODY, describe
from tests.transfer.servers import SECRET, WebServer, certificate, sftp, web, websocket

pytestmark = pytest.mark.anyio
BEARER = {"type": "bearer", "value": SECRET}


@pytest.mark.parametrize(
    ("path", "compression"),
    [("/body", None), ("/whole", "none"), ("/gzip", "gzip"), ("/raw.gz", "gzip"), ("/zstd", "zstd")],
)
async def test_http(transfers: Transfers, server: WebServer, path: str, compression: str | None) -> None:
    seen: list[int] = []
    got = await transfers.fetch(
        describe("http", server.url + path, compression=compression), lambda done, _: seen.append(done)
    )
    assert got == BODY
    assert seen[-1] == len(BODY)


@pytest.mark.parametrize(
    ("auth", "query"),
    [
        (BEARER, ""),
        ({"type": "header", "value": SECRET, "header_name": "X-Key"}, ""),
        ({"type": "query", "value": SECRET, "query_param": "key"}, "?a=b%2F"),
        ({"type": "hmac", "value": SECRET}, "?x=1"),
    ],
)
async def test_every_credential_is_sent(
    transfers: Transfers, server: WebServer, auth: dict[str, str], query: str
) -> None:
    assert await transfers.fetch(describe("http", f"{server.url}/secret{query}", auth=auth)) == BODY
    with pytest.raises(AuthFailedError):
        await transfers.fetch(describe("http", f"{server.url}/secret{query}", auth=auth | {"value": "wrong"}))


async def test_https_and_wss(transfers: Transfers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, context = certificate(tmp_path)
    with web(BODY, context) as server:
        url = f"https://127.0.0.1:{server.server_port}/body"
        with pytest.raises(TransferInterruptedError):
            await transfers.fetch(describe("https", "https://127.0.0.1:9/body"))
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        verifying.cache_clear()
        try:
            assert await transfers.fetch(describe("https", url)) == BODY
            async with websocket(BODY, context) as port:
                assert await transfers.fetch(describe("wss", f"wss://127.0.0.1:{port}/", auth=BEARER)) == BODY
        finally:
            verifying.cache_clear()


async def test_ws(transfers: Transfers) -> None:
    async with websocket(BODY) as port:
        assert await transfers.fetch(describe("ws", f"ws://127.0.0.1:{port}/a?b=c", auth=BEARER)) == BODY
        with pytest.raises(TransferInterruptedError):
            await transfers.fetch(describe("ws", f"ws://127.0.0.1:{port}/"))


async def test_sse(transfers: Transfers, server: WebServer) -> None:
    fields = {"encoding": "base64", "stream": {"end_signal": "done"}}
    assert await transfers.fetch(describe("sse", server.url + "/events", **fields)) == BODY
    with pytest.raises(TransferInterruptedError):
        await transfers.fetch(
            describe("sse", server.url + "/events", stream={"end_signal": "never"}, size_hint=None, checksum=None)
        )


async def test_nats_and_our_own_bridge(settings: Settings) -> None:
    async with Plane.connect(settings) as plane:
        published = await plane.publish(BODY, uses=2)
        subject = describe("nats", published.subject)
        assert await plane.transfers.fetch(subject) == BODY
        assert await plane.transfers.fetch(describe("http", published.resource_url)) == BODY


async def test_fs(transfers: Transfers, tmp_path: Path) -> None:
    file = tmp_path / "a body"
    file.write_bytes(BODY)
    assert await transfers.fetch(describe("fs", str(file))) == BODY
    assert await transfers.fetch(describe("fs", file.as_uri())) == BODY


async def test_sftp(transfers: Transfers, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(BODY)
    auth = {"type": "header", "header_name": "reader", "value": SECRET}
    async with sftp(tmp_path) as (port, host_key), sftp(tmp_path) as (_, other_key):
        url = f"sftp://127.0.0.1:{port}/body"
        assert await transfers.fetch(describe("sftp", url, auth=auth, host_key=host_key)) == BODY
        with pytest.raises(AuthFailedError):
            await transfers.fetch(describe("sftp", url, auth=auth | {"value": "x"}, host_key=host_key))
        with pytest.raises(TransferInterruptedError):
            await transfers.fetch(describe("sftp", url, auth=auth, host_key=other_key))
        with pytest.raises(UnsupportedProtocolError):
            await transfers.fetch(describe("sftp", url, auth=auth))


async def test_a_protocol_that_nobody_knows(transfers: Transfers) -> None:
    with pytest.raises(UnsupportedProtocolError, match="webtorrent"):
        await transfers.fetch(describe("webtorrent", "magnet:?x"))


async def test_a_push_sends_the_file(transfers: Transfers, server: WebServer, tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_bytes(BODY)
    await transfers.push(describe("http", server.url + "/in", mode="push"), file)
    assert server.put["/in"] == BODY
