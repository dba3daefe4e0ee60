"""A single use behind nginx: a client that breaks in the middle keeps it, and resumes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest
import websockets

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.plane.bodies.publish import PublishOrder, StoredBody
from broker_plane.runtime.bridging import bridging
from broker_plane.runtime.wiring import Wiring, wire
from broker_plane.testing.server import NatsServer
from tests.bridge.wire import PATIENCE, Reader, eventually
from tests.deploy.nginx import nginx_before

pytestmark = pytest.mark.anyio
BUFFERS = "proxy_ignore_headers X-Accel-Buffering;"
SIZE = 48_000_000
"""More than nginx and the kernels hold of an answer."""


@asynccontextmanager
async def serving(nats_server: NatsServer, confirm: str) -> AsyncIterator[tuple[Wiring, str]]:
    settings = load_settings(nats_url=nats_server.url, delivery_confirmation=confirm)
    wiring = await wire(settings.nats_url, settings)
    try:
        async with bridging(wiring, settings, host="127.0.0.1", port=0) as url:
            yield wiring, url
    finally:
        await wiring.close()


async def publish(wiring: Wiring, size: int = SIZE) -> tuple[StoredBody, bytes]:
    raw = os.urandom(size)
    return await wiring.publisher.publish(raw, PublishOrder(ttl=60, uses=1)), raw


async def cut_at(base: str, published: StoredBody, size: int, bridge: str = "") -> tuple[bytes, dict[str, str]]:
    """The first `size` bytes of the body, from a client that then hangs up; and the headers of the answer.

    With `bridge` it hangs up when nginx has taken the whole answer from there.
    """
    place = urlsplit(base)
    reader = await Reader.connect(place.port or 0)
    await reader.send(f"GET /s2sp/data/{published.grant} HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode())
    head = (await reader.read_head()).decode("latin-1")
    fields = dict(line.split(": ", 1) for line in head.lower().split("\r\n")[1:] if line)
    raw = await reader.read(size)
    if bridge:
        await eventually(lambda: not connections(urlsplit(bridge).port or 0))
    reader.close()
    return raw, fields


def connections(port: int) -> int:
    """How many are open at a port that this process serves."""
    return sum(
        each.status == psutil.CONN_ESTABLISHED and each.laddr.port == port
        for each in psutil.Process().net_connections("tcp")
    )


async def rest(client: httpx2.AsyncClient, base: str, published: StoredBody, begin: int, etag: str) -> httpx2.Response:
    """What follows `begin`, once the delivery before it is settled."""
    headers = {"range": f"bytes={begin}-", "if-range": etag}
    async with asyncio.timeout(PATIENCE):
        while (answer := await client.get(f"{base}/s2sp/data/{published.grant}", headers=headers)).status_code == 409:
            pass
        return answer


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE) as made:
        yield made


async def test_a_download_that_breaks_behind_nginx_keeps_its_use_and_resumes(
    nats_server: NatsServer, tmp_path: Path, client: httpx2.AsyncClient
) -> None:
    async with serving(nats_server, "optional") as (wiring, bridge), nginx_before(bridge, tmp_path) as base:
        published, raw = await publish(wiring)
        first, fields = await cut_at(base, published, SIZE // 2)
        answer = await rest(client, base, published, len(first), fields["etag"])
        assert answer.status_code == 206
        assert sha256(first + answer.content).digest() == sha256(raw).digest()
        lease = {"status": "success", "lease": answer.headers["bp-lease"]}
        with suppress(httpx2.HTTPError):
            await client.post(f"{base}/s2sp/data/{published.grant}/confirm", json=lease)
        assert (await rest(client, base, published, 0, fields["etag"])).json()["code"] == "grant_used"


async def test_without_the_setting_a_proxy_that_buffers_all_the_same_spends_the_use(
    nats_server: NatsServer, tmp_path: Path, client: httpx2.AsyncClient
) -> None:
    """What the setting is for: were this no more so, the page could say less."""
    async with serving(nats_server, "optional") as (wiring, bridge), nginx_before(bridge, tmp_path, BUFFERS) as base:
        published, _ = await publish(wiring)
        first, fields = await cut_at(base, published, SIZE // 2, bridge)
        assert (await rest(client, base, published, len(first), fields["etag"])).json()["code"] == "grant_used"


async def test_with_confirmation_required_a_proxy_may_buffer(
    nats_server: NatsServer, tmp_path: Path, client: httpx2.AsyncClient
) -> None:
    async with serving(nats_server, "required") as (wiring, bridge), nginx_before(bridge, tmp_path, BUFFERS) as base:
        published, raw = await publish(wiring)
        url = f"{base}/s2sp/data/{published.grant}"
        first, fields = await cut_at(base, published, SIZE // 2, bridge)
        held = await client.get(url, headers={"range": f"bytes={len(first)}-"})
        assert (held.status_code, held.json()["code"]) == (409, "grant_in_use")
        report = {"status": "failure", "lease": fields["bp-lease"]}
        assert (await client.post(f"{url}/confirm", json=report)).json() == {"status": "released"}
        held = await client.get(url, headers={"range": f"bytes={len(first)}-", "if-range": fields["etag"]})
        assert held.status_code == 206
        assert sha256(first + held.content).digest() == sha256(raw).digest()
        confirmed = await client.post(f"{url}/confirm", json={"lease": held.headers["bp-lease"]})
        assert confirmed.json() == {"status": "confirmed"}
        assert (await client.get(url)).json()["code"] == "grant_used"


async def test_small_bodies_need_the_confirmation_as_well(
    nats_server: NatsServer, tmp_path: Path, client: httpx2.AsyncClient
) -> None:
    async with serving(nats_server, "required") as (wiring, bridge), nginx_before(bridge, tmp_path) as base:
        published, raw = await publish(wiring, 100_000)
        url = f"{base}/s2sp/data/{published.grant}"
        _, fields = await cut_at(base, published, 50_000, bridge)
        report = {"status": "failure", "lease": fields["bp-lease"]}
        assert (await client.post(f"{url}/confirm", json=report)).json() == {"status": "released"}
        whole = await client.get(url)
        assert whole.content == raw
        await client.post(f"{url}/confirm", json={"lease": whole.headers["bp-lease"]})
        assert (await client.get(url)).json()["code"] == "grant_used"


async def test_our_client_pulls_uploads_and_listens_through_nginx(nats_server: NatsServer, tmp_path: Path) -> None:
    async with (
        serving(nats_server, "required") as (_, bridge),
        nginx_before(bridge, tmp_path, BUFFERS) as base,
        Plane.connect(load_settings(nats_url=nats_server.url, bridge_url=base)) as plane,
    ):
        raw = os.urandom(3_000_000)
        published = await plane.publish(raw, uses=1)
        assert await plane.pull(published.resource_url, via="http") == raw
        async with httpx2.AsyncClient(trust_env=False) as client:
            assert (await client.get(published.resource_url)).json()["code"] == "grant_used"
        upload = await plane.uploads.grant(ttl=60)
        done = await plane.upload(upload.upload_url, raw)
        assert done.digest == sha256(raw).hexdigest()
        await plane.publish([{"a": 1}], feed="nginx.feed", key="a")
        feed = (await plane.feeds.grant("nginx.feed")).resource_url
        async with asyncio.timeout(PATIENCE), websockets.connect(f"ws{feed[4:]}", proxy=None) as socket:
            assert "notice" in str(await socket.recv())
