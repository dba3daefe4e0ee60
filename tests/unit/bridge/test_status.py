"""Readiness is asked for once for many probes, and metrics are read when they are shown."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.types import Message

from broker_plane import __version__
from broker_plane.bridge.app import BridgeApp
from broker_plane.bridge.metrics import Metrics, counter, gauge
from broker_plane.bridge.routing import Feature
from broker_plane.errors import BrokerUnavailableError
from broker_plane.plane.ports import Readiness

pytestmark = pytest.mark.anyio
READY = Readiness(durability="fsync", stored_bytes=0)


class Checks:
    """A readiness check that counts its calls, and fails while `away` is set."""

    def __init__(self) -> None:
        self.count = 0
        self.away = False

    async def __call__(self) -> Readiness:
        self.count += 1
        await asyncio.sleep(0)
        if self.away:
            raise BrokerUnavailableError("no answer")
        return READY


async def status_of(app: BridgeApp, path: str, method: str = "GET") -> int:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    scope: dict[str, Any] = {"type": "http", "method": method, "path": path, "query_string": b"", "root_path": ""}
    await app({**scope, "headers": [(b"host", b"localhost")], "http_version": "1.1"}, receive, send)
    status: int = sent[0]["status"]
    return status


async def test_probes_at_once_share_one_check() -> None:
    checks = Checks()
    app = BridgeApp([], checks)
    assert set(await asyncio.gather(*(status_of(app, "/readyz") for _ in range(20)))) == {200}
    assert checks.count == 1


async def test_a_bridge_that_was_not_ready_is_checked_again_soon() -> None:
    checks = Checks()
    app = BridgeApp([], checks)
    checks.away = True
    assert await status_of(app, "/readyz") == 503
    checks.away = False
    async with asyncio.timeout(10):
        while await status_of(app, "/readyz") != 200:  # noqa: ASYNC110  # there is no event to wait for
            await asyncio.sleep(0.01)
    assert checks.count == 2


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("HEAD", "/healthz", 200),
        ("POST", "/healthz", 405),
        ("OPTIONS", "/healthz", 405),
        ("GET", "/healthz/", 404),
        ("GET", "/", 404),
        ("POST", "/nowhere", 404),
    ],
)
async def test_status_routes_answer_reads_only(method: str, path: str, status: int) -> None:
    assert await status_of(BridgeApp([], Checks()), path, method) == status


async def test_features_bring_their_metrics() -> None:
    seen = {"nats": 2, "http": 1}
    metrics = Metrics()
    metrics.add(Feature(metrics={"forged_total": counter(lambda: seen, "way")}).metrics)
    metrics.add({"cache_bytes": gauge(lambda: 7)})
    metrics.answered("/healthz", 200)
    seen["nats"] += 1
    assert metrics.render().splitlines() == [
        "# TYPE broker_plane_requests_total counter",
        'broker_plane_requests_total{route="/healthz",status="200"} 1',
        "# TYPE broker_plane_forged_total counter",
        'broker_plane_forged_total{way="http"} 1',
        'broker_plane_forged_total{way="nats"} 3',
        "# TYPE broker_plane_cache_bytes gauge",
        "broker_plane_cache_bytes 7",
    ]


async def test_a_bridge_says_which_version_it_runs() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/version",
        "headers": [(b"host", b"127.0.0.1")],
        "query_string": b"",
    }
    await BridgeApp([], Checks())(scope, receive, send)
    assert sent[0]["status"] == 200
    assert json.loads(sent[1]["body"]) == {"version": __version__}
