"""Transfers between processes: replicas of a server behind one bridge, restarts between offer and answer, uploads."""

from __future__ import annotations

import json
import os
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import anyio.to_thread
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from broker_plane.agent.transfers import advertised, confirm, inline_parts, raw_of, rows_of, unable
from broker_plane.testing.server import NatsServer, wait_for
from broker_plane.wire.capabilities import Capabilities
from broker_plane.wire.files import sha256_of
from tests import forked
from tests.interaction.offering_server import RAW, ROWS
from tests.interaction.test_transfers import offered, refused, vendor
from tests.ports import free_port

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
MODULE = "tests.interaction.offering_server"
HTTP = Capabilities(protocols=("http", "https"))


@pytest.fixture(scope="module")
def environment(nats_server: NatsServer) -> Iterator[dict[str, str]]:
    """Of every server here: one broker, and one bridge before it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_PLANE_")}
    env = kept | {"PYTHONPATH": str(ROOT), "BROKER_PLANE_NATS_URL": nats_server.url}
    forked.fork_server(forked.MCP)
    command = forked.command("broker_plane.cli.bridge")
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as bridge:
        assert bridge.stdout is not None
        said = json.loads(bridge.stdout.readline())
        yield env | {"BROKER_PLANE_BRIDGE_URL": said["bridge"], "BROKER_PLANE_MAX_INLINE_RESULT_BYTES": "1024"}
        bridge.terminate()


@contextmanager
def listening(environment: dict[str, str]) -> Iterator[str]:
    """The URL of a server process over HTTP, for the time of the block."""
    port = free_port()
    with subprocess.Popen(forked.command(MODULE, str(port)), env=environment) as process:
        try:
            wait_for(lambda: _answers(f"http://127.0.0.1:{port}/healthz"), "the server to listen", 30)
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310  # our own, on loopback
            return bool(answer.status == 200)
    except OSError:
        return False


async def over_http(stack: AsyncExitStack, url: str, who: str) -> Client:
    http = await stack.enter_async_context(httpx2.AsyncClient(headers={"Authorization": f"Bearer {who}"}))
    transport = streamable_http_client(url, http_client=http)
    return await stack.enter_async_context(Client(transport, extensions=[advertised(HTTP)]))


def over_stdio(environment: dict[str, str]) -> Client:
    program, *arguments = forked.command(MODULE)
    parameters = StdioServerParameters(command=program, args=arguments, env=environment)
    return Client(parameters, extensions=[advertised(HTTP)])


@pytest.fixture(params=["stdio", "streamable HTTP"])
async def asking(request: pytest.FixtureRequest, environment: dict[str, str]) -> AsyncIterator[Client]:
    """A client of a server process, over one transport."""
    with ExitStack() as servers:
        async with AsyncExitStack() as stack:
            if request.param == "stdio":
                yield await stack.enter_async_context(over_stdio(environment))
            else:
                yield await over_http(stack, servers.enter_context(listening(environment)), "ann")


def fetched(url: str) -> tuple[HTTPConnection, bytes]:
    """A GET, on a connection that stays open: its end would settle the delivery before anybody confirms it."""
    host, path = url.removeprefix("http://").split("/", 1)
    connection = HTTPConnection(host, timeout=10)
    connection.request("GET", f"/{path}")
    return connection, connection.getresponse().read()


async def test_a_replica_confirms_and_gives_what_another_offered(environment: dict[str, str]) -> None:
    with listening(environment) as one, listening(environment) as two:
        async with AsyncExitStack() as stack:
            offering, replica = await over_http(stack, one, "ann"), await over_http(stack, two, "ann")
            descriptor = await offered(offering)
            connection, raw = await anyio.to_thread.run_sync(fetched, descriptor.endpoint)
            assert await confirm(replica, descriptor, bytes_received=len(raw)) == "confirmed"
            connection.close()
            assert "used" in str(await refused(unable(replica, descriptor)))

            table = await offered(offering, "table", abstract_domains="n")
            parts, cursor = [], ""
            for place in range(1000):  # each part at the other replica
                part = await anext(inline_parts((offering, replica)[place % 2], table, cursor=cursor))
                parts.append(part)
                if not (cursor := part.next_cursor or ""):
                    break
            assert [row for part in parts for row in rows_of(part)] == ROWS

            other = await over_http(stack, two, "bob")
            mine = await offered(offering)
            for refusal in (
                confirm(other, mine),
                unable(other, mine),
                unable(await over_http(stack, one, "bob"), mine),
            ):
                assert "offered" in str(await refused(refusal))
            assert raw_of(await unable(replica, mine)) == RAW


async def test_a_restarted_server_knows_what_it_offered(environment: dict[str, str]) -> None:
    async with over_stdio(environment) as first:
        descriptor, large = await offered(first), await offered(first, "table", abstract_domains="n")
        taken = await anext(inline_parts(first, large))
        connection, _ = await anyio.to_thread.run_sync(fetched, descriptor.endpoint)
    async with over_stdio(environment) as second:
        assert await confirm(second, descriptor, "failure", error="the disk is full") == "released"
        connection.close()
        assert raw_of(await unable(second, descriptor)) == RAW
        rest = [part async for part in inline_parts(second, large, cursor=taken.next_cursor or "")]
        assert [row for part in [taken, *rest] for row in rows_of(part)] == ROWS


async def test_what_a_client_uploads_is_a_file_like_any_other(asking: Client) -> None:
    data = os.urandom(200_000)
    digest = {"algorithm": "sha-256", "value": _digest(data)}
    asked = {"name": "größe.png", "mimeType": "image/png", "size": len(data), "digest": digest}
    said = await vendor(asking, "files/authorizeUpload", **asked)
    file, upload = said["file"], said["upload"]
    early = await refused(vendor(asking, "files/authorizeDownload", uri=file["uri"]))
    assert "uploaded" in str(early)
    assert (await _put(upload, b"x" * len(data)))[0] == 422  # other bytes than were announced
    assert (await _put(upload, data + b"x"))[0] == 413
    assert (await _put(upload | {"headers": {"Content-Type": "text/plain"}}, data))[0] == 415
    status, body = await _put(upload, data)
    assert (status, body["digest"]) == (201, f"sha256:{sha256(data).hexdigest()}")
    found = await vendor(asking, "files/authorizeDownload", uri=file["uri"])
    assert found["file"] == file
    assert found["file"]["digest"] == digest and sha256_of(digest) == sha256(data).hexdigest()
    connection, raw = await anyio.to_thread.run_sync(fetched, found["download"]["url"])
    connection.close()
    assert raw == data


def _digest(data: bytes) -> str:
    return urlsafe_b64encode(sha256(data).digest()).rstrip(b"=").decode()


async def _put(upload: dict[str, Any], data: bytes) -> tuple[int, dict[str, Any]]:
    """As any client of SEP-2631 does it: the method, the URL and the headers that it was told."""

    def put() -> tuple[int, dict[str, Any]]:
        request = Request(upload["url"], data, upload["headers"], method=upload["method"])  # noqa: S310
        try:
            with urlopen(request, timeout=10) as answer:  # noqa: S310
                return answer.status, json.loads(answer.read() or b"{}")
        except OSError as error:
            return getattr(error, "code", 0), {}

    return await anyio.to_thread.run_sync(put)
