"""A transfer that its reader says has failed: body and use are kept, and metric and audit have it, on either way."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import sha256
from http.client import HTTPConnection
from typing import Any

import anyio.to_thread
import orjson
import pytest

from broker_plane import Plane, Published
from broker_plane.config import Settings
from broker_plane.errors import GrantUsedError
from broker_plane.testing.processes import until
from broker_plane.wire.names import encode_id
from broker_plane.wire.presigned import PullConfirmation, PullRequest, parse_answer
from broker_plane.wire.selector import WHOLE

pytestmark = pytest.mark.anyio
DATA = bytes(range(256)) * 100
WRONG = sha256(b"other bytes").hexdigest()
Reader = Callable[[Plane, Published, dict[str, Any]], Awaitable[None]]
REPORTS: dict[str, dict[str, Any]] = {
    "checksum": {"status": "success", "bytes_received": len(DATA), "checksum": WRONG},
    "short": {"status": "failure", "bytes_received": len(DATA) - 1},
    "failure": {"status": "failure", "bytes_received": len(DATA)},
}


@pytest.fixture
async def plane(settings: Settings, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Plane]:
    async with Plane.connect(settings) as connected:  # with a bridge of its own
        yield connected


async def over_http(plane: Plane, published: Published, report: dict[str, Any]) -> None:
    """A reader that knows nothing of ours: a GET, and its word on the same connection."""

    def read() -> None:
        host, path = published.resource_url.removeprefix("http://").split("/", 1)
        connection = HTTPConnection(host, timeout=10)
        connection.request("GET", f"/{path}")
        assert connection.getresponse().read() == DATA
        connection.request("POST", f"/{path}/confirm", orjson.dumps(report))
        assert orjson.loads(connection.getresponse().read()) == {"status": "released"}
        connection.close()

    await anyio.to_thread.run_sync(read)


async def over_nats(plane: Plane, published: Published, report: dict[str, Any]) -> None:
    """The same with the presigned subject, in messages of its own."""
    asker, connection = f"a{secrets.token_hex(6)}", plane.wiring.connection
    request = PullRequest(encode_id(secrets.token_bytes(16)), WHOLE)
    answer = parse_answer((await connection.request(f"bp.pull.{published.grant}.{asker}", request.pack())).data)
    assert answer.data == DATA
    said = PullConfirmation(
        answer.lease, report["status"] == "success", report["bytes_received"], checksum=report.get("checksum", "")
    )
    assert (await connection.request(f"bp.confirm.{published.grant}.{asker}", said.pack())).data == b"\x80"


async def failures(plane: Plane, why: str) -> int:
    def read() -> bytes:
        connection = HTTPConnection(plane.bridge_url.removeprefix("http://"), timeout=10)
        connection.request("GET", "/metrics")
        raw = connection.getresponse().read()
        connection.close()
        return raw

    lines = (await anyio.to_thread.run_sync(read)).decode().splitlines()
    name = f'broker_plane_transfers_failed_total{{why="{why}"}} '
    return sum(int(line.removeprefix(name)) for line in lines if line.startswith(name))


@pytest.mark.parametrize("why", REPORTS)
@pytest.mark.parametrize("way", [over_http, over_nats])
async def test_a_failure_that_is_reported_keeps_body_and_use(plane: Plane, way: Reader, why: str) -> None:
    published = await plane.publish(DATA, uses=1)
    before = await failures(plane, why)
    await way(plane, published, REPORTS[why])
    assert await failures(plane, why) == before + 1

    async def noted() -> bool:
        said = [(entry.what, entry.code) for entry in await plane.bodies.audit(published.body.id)]
        return ("failed", why) in said and ("released", "") in said

    await until(noted, f"the audit's line of a transfer that failed: {why}", 5)
    assert await plane.pull(published.resource_url) == DATA
    with pytest.raises(GrantUsedError):
        await plane.pull(published.resource_url)


async def test_a_checksum_that_is_right_confirms(plane: Plane) -> None:
    published = await plane.publish(DATA, uses=1)
    good = {"status": "success", "bytes_received": len(DATA), "checksum": f"sha256:{published.body.digest}"}
    await over_nats(plane, published, good)
    with pytest.raises(GrantUsedError):
        await plane.pull(published.resource_url)
