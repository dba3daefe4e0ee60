"""The sixteen things that were seen to be wrong in S2SP and MCP-SD when they were run, one test each, by number."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from mcp import Client

from broker_plane import Plane, PlaneServer
from broker_plane.config import Settings
from broker_plane.errors import GrantUsedError, UntrustedHostError
from broker_plane.testing.server import eventually
from tests.interaction.conftest import Agent, error_of, shape_of, text_of
from tests.interaction.tables import wide

pytestmark = pytest.mark.anyio


@pytest.fixture
async def plane(server: PlaneServer) -> AsyncIterator[Plane]:
    yield await server.plane()
    await server._holder.close()


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(trust_env=False) as client:
        yield client


async def test_1_the_tools_own_rows_are_not_touched(server: PlaneServer, agent: Agent) -> None:
    own = [{"a": 1, "b": 2}]
    server.resource_tool("table")(lambda: own)
    for _ in range(2):
        await agent("table", abstract_domains="a")
        await agent("table", abstract_domains="a", mode="sync")
    assert own == [{"a": 1, "b": 2}]
    assert json.loads(text_of(await agent("table"))) == own


@pytest.mark.parametrize(
    "body", ["{", '{"row_ids": ["abc"]}', "[]", '{"row_ids": [0.9]}', '{"row_ids": ["1"]}', '{"row_ids": [true]}']
)
async def test_2_a_bad_selector_is_a_400_that_uses_nothing_up(
    plane: Plane, http: httpx2.AsyncClient, body: str
) -> None:
    published = await plane.publish(wide(3))
    answer = await http.post(published.resource_url, content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert (await http.post(published.resource_url)).json()["total_rows"] == 3


async def test_2_no_row_ids_at_all_select_nothing(plane: Plane, http: httpx2.AsyncClient) -> None:
    published = await plane.publish(wide(3))
    assert (await http.post(published.resource_url, json={"row_ids": []})).json() == {"body": [], "total_rows": 0}


async def test_3_no_type_is_a_500_and_none_loses_the_body(plane: Plane, http: httpx2.AsyncClient) -> None:
    row = {"when": datetime(2026, 1, 1, tzinfo=UTC), "nan": float("nan"), "raw": b"\xff", "cost": Decimal("1.10")}
    published = await plane.publish([row], uses=2)
    answer = await http.post(published.resource_url)
    expected = {"_row_id": 0, "when": "2026-01-01T00:00:00+00:00", "nan": None, "raw": "/w==", "cost": "1.10"}
    assert answer.json() == {"body": [expected], "total_rows": 1}
    assert repr(await plane.pull(published.resource_url)) == repr([row])


async def test_4_a_reader_that_drops_midway_may_come_back(plane: Plane) -> None:
    raw = os.urandom(8_000_000)
    published = await plane.publish(raw)
    async with httpx2.AsyncClient(trust_env=False) as client, client.stream("GET", published.resource_url) as answer:
        async for _ in answer.aiter_raw():
            break
    assert await plane.pull(published.resource_url, via="http") == raw


async def test_4_five_readers_of_a_five_use_grant_all_get_it_and_the_sixth_is_told(plane: Plane) -> None:
    published = await plane.publish(wide(100), uses=5)

    async def read() -> int:
        async with httpx2.AsyncClient(trust_env=False) as client:
            return (await client.post(published.resource_url)).status_code

    assert await asyncio.gather(*(read() for _ in range(5))) == [200] * 5
    with pytest.raises(GrantUsedError):
        await plane.pull(published.resource_url, via="http")


async def test_5_a_changed_abstract_never_wins_without_a_word(server: PlaneServer, agent: Agent) -> None:
    server.resource_tool("table")(lambda: [{"event": "Flood", "n": 1}])

    @server.consumer_tool()
    def consume(rows: list[dict[str, Any]]) -> str:
        return "called"

    shape = shape_of(await agent("table", abstract_domains="event"))
    changed = json.dumps([{"_row_id": 0, "event": "Sunshine"}])
    assert "'event'" in error_of(await agent("consume", abstract_data=changed, resource_url=shape["resource_url"]))


@pytest.mark.parametrize(
    "arguments",
    [
        {"abstract_data": '[{"_row_id": 5}]'},
        {"abstract_data": '[{"_row_id": "0"}]'},
        {"abstract_data": '[{"event": "Flood"}]'},
        {"column_mapping": '{"event": "n"}'},
    ],
)
async def test_6_bad_ids_and_colliding_mappings_are_errors(
    server: PlaneServer, agent: Agent, arguments: dict[str, str]
) -> None:
    server.resource_tool("table")(lambda: [{"event": "Flood", "n": 1}])

    @server.consumer_tool()
    def consume(rows: list[dict[str, Any]]) -> str:
        return "called"

    url = shape_of(await agent("table", abstract_domains="event"))["resource_url"]
    assert (await agent("consume", resource_url=url, **arguments)).is_error


@pytest.mark.parametrize("arguments", [{"abstract_domains": "nothing"}, {"abstract_domains": "a", "mode": "SYNC"}])
async def test_7_unknown_columns_and_modes_are_errors(
    server: PlaneServer, agent: Agent, arguments: dict[str, str]
) -> None:
    server.resource_tool("table")(lambda: [{"a": 1}])
    assert (await agent("table", **arguments)).is_error


async def test_8_expired_bodies_are_freed_though_nobody_asks(plane: Plane) -> None:
    published = await plane.publish(bytes(3_000_000), ttl=1)
    await eventually(lambda: _is_gone(plane, published.body.id))


async def _is_gone(plane: Plane, body_id: str) -> bool:
    return body_id not in {body.id for body in await plane.bodies.list()}


async def test_9_the_consumer_asks_for_a_projection_and_gets_no_more(plane: Plane, http: httpx2.AsyncClient) -> None:
    published = await plane.publish(wide(1_000), uses=2)
    answer = await http.post(published.resource_url, json={"columns": ["c1"], "row_ids": [5]})
    assert answer.json()["body"] == [{"_row_id": 5, "c1": "value 5 of 1"}]
    cut = await http.post(
        published.resource_url, json={"columns": ["c1"]}, headers={"Accept": "application/vnd.broker-plane.rows"}
    )
    assert len(cut.content) < published.body.size / 10


async def test_10_no_url_names_a_wildcard_address_or_port_0(plane: Plane, settings: Settings) -> None:
    from broker_plane.web.server import HttpServer

    assert ":0/" not in plane.bridge_url + "/"

    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    wild = HttpServer(app, "0.0.0.0")  # noqa: S104  # what is shown must not be this
    public = HttpServer(app, public_url="https://bodies.example/")
    try:
        assert wild.url.startswith("http://127.0.0.1:")
        assert not wild.url.endswith(":0")
        assert public.url == "https://bodies.example"
    finally:
        wild.close()
        public.close()


async def test_11_the_producer_leaves_and_the_body_stays(settings: Settings, plane: Plane) -> None:
    async with Plane.connect(settings) as producer:
        published = await producer.publish(wide(10))
    assert await plane.pull(published.subject) == wide(10)


async def test_11_every_session_has_the_same_plane_and_bridge(server: PlaneServer) -> None:
    server.resource_tool("table")(lambda: [{"a": 1}])
    urls = set()
    async with Client(server.mcp) as first, Client(server.mcp) as second:
        for client in (first, second, first):
            result = await client.call_tool("table", {"abstract_domains": "a"})
            urls.add(shape_of(result)["resource_url"].partition("/s2sp/")[0])
    assert len(urls) == 1


async def test_12_no_request_is_sent_to_a_host_that_is_not_trusted(plane: Plane) -> None:
    met: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.2", 0)
    port = server.sockets[0].getsockname()[1]
    published = await plane.publish(b"x")
    async with server:
        with pytest.raises(UntrustedHostError):
            await plane.pull(f"http://127.0.0.2:{port}/s2sp/data/{published.grant}", via="http")
    assert met == []


async def test_13_a_list_of_texts_and_a_plain_function_are_no_errors(server: PlaneServer, agent: Agent) -> None:
    server.resource_tool("names")(lambda: ["x", "y"])
    assert shape_of(await agent("names", abstract_domains="value"))["total_rows"] == 2


async def test_14_a_stale_handle_is_an_error_and_no_empty_body(server: PlaneServer, agent: Agent) -> None:
    @server.consumer_tool()
    def consume(rows: list[dict[str, Any]]) -> str:
        return f"{len(rows)}"

    published = await (await server.plane()).publish(wide(2))
    assert text_of(await agent("consume", resource_url=published.resource_url)) == "2"
    assert (await agent("consume", resource_url=published.resource_url)).is_error


async def test_15_nothing_of_the_body_is_in_what_the_model_gets(server: PlaneServer, agent: Agent) -> None:
    secret = "canary-5b1f"  # a value of the body
    server.resource_tool("table")(lambda: [{"a": n, "hidden": f"{secret}-{n}"} for n in range(50)])
    result = await agent("table", abstract_domains="a")
    assert secret not in result.model_dump_json()


async def test_16_no_log_line_holds_a_grant(
    server: PlaneServer, agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.resource_tool("table")(lambda: wide(3))

    @server.consumer_tool()
    def consume(rows: list[dict[str, Any]]) -> str:
        return "ok"

    url = shape_of(await agent("table", abstract_domains="c0"))["resource_url"]
    grant = url.rpartition("/")[2]
    plane = await server.plane()
    await agent("consume", resource_url=url)
    await agent("consume", resource_url=url)
    for way in ("http", "nats"):
        with pytest.raises(GrantUsedError):
            await plane.pull(url, via=way)
    ours = [record for record in caplog.records if record.name.startswith(("broker_plane", "uvicorn"))]
    assert ours
    assert not [record for record in ours if grant in record.getMessage()]
