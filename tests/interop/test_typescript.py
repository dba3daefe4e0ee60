"""The servers of docs/guides/typescript.md run under Node.js: with each other, with ours, over a broken connection."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from mcp import Client, StdioServerParameters

from broker_plane import Plane
from broker_plane.config import Settings
from tests.docs.blocks import ROOT, blocks_of

from .conftest import npm_installed

pytestmark = pytest.mark.anyio
SDK = "@modelcontextprotocol/sdk@1.32.2"
ROWS = [{"event": f"Flood {n}", "text": "one two three " * 40} for n in range(2000)]


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the guide's two programs beside their packages."""
    directory = tmp_path_factory.mktemp("typescript")
    modules = npm_installed("typescript-guide", SDK, "zod@3.25.76", "tsx@4.21.0")
    (directory / "node_modules").symlink_to(modules)
    (directory / "package.json").write_text('{"type": "module"}')
    for block in blocks_of(ROOT / "docs/guides/typescript.md"):
        if block.language == "ts":
            name = block.text.splitlines()[0].removeprefix("// ")
            (directory / name).write_text(block.text)
    return directory


@pytest.fixture
async def plane(settings: Settings) -> AsyncIterator[Plane]:
    async with Plane.connect(settings) as plane:
        yield plane


@asynccontextmanager
async def started(programs: Path, name: str, plane: Plane, bridge_url: str = "") -> AsyncIterator[Client]:
    """A client of one of the programs; the command line works in the test's plane."""
    settings = plane.settings
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(settings.data_dir),
        "BRIDGE_URL": bridge_url or plane.bridge_url,
        "BROKER_PLANE_BRIDGE_URL": plane.bridge_url,
        "BROKER_PLANE_NATS_URL": settings.nats_url,
        "BROKER_PLANE_DATA_DIR": str(settings.data_dir),
        "BROKER_PLANE_PREFIX": settings.prefix,
    }
    command = StdioServerParameters(
        command="node", args=["node_modules/tsx/dist/cli.mjs", name], env=environment, cwd=programs
    )
    async with Client(command) as client:
        yield client


async def called(client: Client, tool: str, **arguments: Any) -> tuple[str, bool]:
    result = await client.call_tool(tool, arguments)
    assert result.content[0].type == "text"
    return result.content[0].text, bool(result.is_error)


async def test_a_producer_hands_on_to_a_consumer(programs: Path, plane: Plane) -> None:
    async with started(programs, "producer.ts", plane) as producer, started(programs, "consumer.ts", plane) as consumer:
        text, failed = await called(producer, "get_alerts", area="CA", count=300, abstract_domains="event")
        assert not failed, text
        found = json.loads(text)
        assert (found["total_rows"], found["body_domains"]) == (300, ["area", "severity", "text"])
        assert found["abstract"][4] == {"_row_id": 4, "event": "Heat"}
        assert "prepare" not in text
        assert plane.bridge_url == "{0.scheme}://{0.netloc}".format(urlsplit(found["resource_url"]))
        floods = [row for row in found["abstract"] if row["event"] == "Flood"]
        given = {"resource_url": found["resource_url"], "abstract_data": json.dumps(floods)}
        # A row has its id, event, area and severity, and three words twenty times.
        assert await called(consumer, "count_words", **given) == (f"100 of 300 rows, {100 * (4 + 60)} words", False)
        text, failed = await called(consumer, "count_words", **given)
        assert failed and "used up" in text  # it was confirmed, and the URL was for one use
        text, failed = await called(producer, "get_alerts", area="CA", abstract_domains="evnt")
        assert failed and "There is no column evnt; there are event, area" in text


async def test_the_consumer_pulls_a_table_and_the_producers_body_is_read_by_ours(programs: Path, plane: Plane) -> None:
    async with started(programs, "producer.ts", plane) as producer, started(programs, "consumer.ts", plane) as consumer:
        table = await plane.publish(ROWS, uses=1)
        text, failed = await called(consumer, "count_words", resource_url=table.resource_url)
        assert (text, failed) == (f"2000 of 2000 rows, {2000 * (2 + 120)} words", False)
        found = json.loads((await called(producer, "get_alerts", area="CA", count=3, uses=2))[0])
        rows = json.loads(await plane.pull(found["resource_url"]))
        assert [(row["_row_id"], row["event"], row["area"]) for row in rows] == [
            (0, "Flood", "CA"),
            (1, "Heat", "CA"),
            (2, "Wind", "CA"),
        ]
        text, failed = await called(consumer, "count_words", resource_url="http://192.0.2.1/s2sp/data/x")
        assert failed and "resource_url is not at" in text


async def test_the_consumer_resumes_after_a_broken_connection(programs: Path, plane: Plane) -> None:
    body = json.dumps(ROWS).encode()
    published = await plane.publish(body, uses=1, media_type="application/json")
    async with cutting_relay(plane.bridge_url, after=500_000) as (relay_url, heads):
        url = published.resource_url.replace(plane.bridge_url, relay_url)
        async with started(programs, "consumer.ts", plane, relay_url) as consumer:
            text, failed = await called(consumer, "count_words", resource_url=url)
    assert (text, failed) == (f"2000 of 2000 rows, {2000 * (2 + 120)} words", False)
    gets = [head for head in heads if head.startswith(b"GET")]
    assert len(gets) == 2 and b"range: bytes=" in gets[1].lower()
    assert b'"failure"' in b"".join(heads) and b'"success"' in b"".join(heads)


async def test_the_consumer_refuses_bytes_that_were_changed(programs: Path, plane: Plane) -> None:
    body = json.dumps(ROWS).encode()
    published = await plane.publish(body, uses=1, media_type="application/json")
    async with cutting_relay(plane.bridge_url, after=10**9, forged=(b"Flood 7", b"Flood 8")) as (relay_url, heads):
        url = published.resource_url.replace(plane.bridge_url, relay_url)
        async with started(programs, "consumer.ts", plane, relay_url) as consumer:
            text, failed = await called(consumer, "count_words", resource_url=url)
    assert failed and "does not have its checksum" in text
    assert b'"failure"' in b"".join(heads)
    assert await plane.pull(published.resource_url) == body  # the use was given back


@asynccontextmanager
async def cutting_relay(
    to: str, after: int, forged: tuple[bytes, bytes] = (b"", b"")
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A relay whose first long answer is reset after `after` bytes; what clients send is in the list.

    `forged` is replaced in every answer.
    """
    place, heads = urlsplit(to), list[bytes]()
    left = [after]

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(place.hostname, place.port)

        async def up() -> None:
            while data := await reader.read(1 << 16):
                heads.append(data)
                back.write(data.replace(f":{port}".encode(), f":{place.port}".encode(), 1))
                await back.drain()
            back.close()

        sending = asyncio.create_task(up())
        try:
            while data := await there.read(1 << 14):
                left[0] -= len(data)
                if left[0] < 0 <= left[0] + len(data):
                    writer.transport.abort()
                    back.transport.abort()
                    return
                writer.write(data.replace(*forged) if forged[0] else data)
                await writer.drain()
            writer.close()
        except OSError:
            back.transport.abort()
        finally:
            sending.cancel()

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}", heads
