"""Feeds over HTTP: events that go on after Last-Event-ID, versions and changes within the grant's scope."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from broker_plane import Plane
from broker_plane.bridge import feed_events
from broker_plane.plane.feeds.retention import Retention

pytestmark = pytest.mark.anyio
PATIENCE = 20
ROWS = [
    {"id": 1, "name": "Ann", "city": "Oslo", "secret": "a"},
    {"id": 2, "name": "Bob", "city": "Oslo", "secret": "b"},
    {"id": 3, "name": "Cem", "city": "Quito", "secret": "c"},
]


@pytest.fixture
def client(turning_client: httpx2.AsyncClient) -> httpx2.AsyncClient:
    """No request of this suite depends on which of two bridges answers it."""
    return turning_client


@dataclass
class Event:
    id: str
    kind: str
    data: Any


async def publish(plane: Plane, feed: str, rows: list[dict[str, Any]], **options: Any) -> None:
    await plane.publish(rows, feed=feed, key="id", **options)


@asynccontextmanager
async def listening(client: httpx2.AsyncClient, url: str, **headers: str) -> AsyncIterator[AsyncIterator[Event]]:
    fields = {"accept": "text/event-stream"} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with asyncio.timeout(PATIENCE), client.stream("GET", url, headers=fields) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"] == "text/event-stream"
        yield events(answer)


async def events(answer: httpx2.Response) -> AsyncIterator[Event]:
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        name, _, value = line.partition(":")
        if line:
            fields[name] = value.strip()
            continue
        if "data" in fields:
            yield Event(fields.get("id", ""), fields["event"], json.loads(fields["data"]))
        elif "" in fields:
            yield Event("", "heartbeat", fields[""])
        fields = {}


async def test_events_come_as_versions_do_and_go_on_after_the_last_one(
    plane: Plane, feed: str, client: httpx2.AsyncClient
) -> None:
    await publish(plane, feed, ROWS)
    url = (await plane.feeds.grant(feed)).resource_url
    async with listening(client, url) as stream:
        first = await anext(stream)
        assert (first.kind, first.data["version"], first.data["rows"]) == ("notice", 1, 3)
        await publish(plane, feed, ROWS[:2])
        assert (await anext(stream)).data["version"] == 2
    await publish(plane, feed, ROWS[:1])
    async with Plane.connect(plane.settings) as other:  # has a bridge of its own
        moved = url.replace(plane.bridge_url, other.bridge_url)
        assert moved != url
        async with listening(client, moved, last_event_id=first.id) as stream:
            assert [(await anext(stream)).data["version"] for _ in range(2)] == [2, 3]


@pytest.mark.parametrize(("since", "versions"), [("first", [1, 2]), ("last", [2]), ("2", [2]), ("new", [3])])
async def test_a_stream_begins_where_it_is_told(
    plane: Plane, feed: str, client: httpx2.AsyncClient, since: str, versions: list[int]
) -> None:
    await publish(plane, feed, ROWS)
    await publish(plane, feed, ROWS[:2])
    url = (await plane.feeds.grant(feed)).resource_url
    async with listening(client, f"{url}?since={since}") as stream:
        if since == "new":
            await publish(plane, feed, ROWS[:1])
        assert [(await anext(stream)).data["version"] for _ in versions] == versions


async def test_a_quiet_stream_has_heartbeats_and_ends_with_its_grant(
    plane: Plane, feed: str, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_events, "HEARTBEAT_SECONDS", 0.05)
    await publish(plane, feed, ROWS)
    granted = await plane.feeds.grant(feed)
    async with Plane.connect(plane.settings) as other:
        url = granted.resource_url.replace(plane.bridge_url, other.bridge_url)
        async with listening(client, f"{url}?since=new") as stream:
            assert (await anext(stream)).kind == "heartbeat"
            await plane.revoke(granted.grant)
            while (event := await anext(stream)).kind == "heartbeat":
                pass
            assert (event.kind, event.data["code"]) == ("end", "grant_revoked")
            with pytest.raises(StopAsyncIteration):
                await anext(stream)


async def test_a_version_is_got_as_every_body_and_its_changes_beside_it(
    plane: Plane, feed: str, client: httpx2.AsyncClient
) -> None:
    await publish(plane, feed, ROWS)
    grown = [ROWS[0] | {"city": "Turin"}, ROWS[2], {"id": 4, "name": "Dee", "city": "Oslo", "secret": "d"}]
    filler = [{"id": number, "name": uuid4().hex, "city": uuid4().hex, "secret": ""} for number in range(10, 60)]
    await publish(plane, feed, ROWS + filler)
    await publish(plane, feed, grown + filler)
    url = (await plane.feeds.grant(feed)).resource_url
    assert (await client.get(f"{url}/1")).json() == ROWS
    assert (await client.get(f"{url}/last?columns=id")).json()[0] == {"id": 1}
    assert (await client.get(f"{url}/1", headers={"accept": "text/csv"})).text.startswith("id,name,city,secret")
    changes = (await client.get(f"{url}/last/changes?since=2")).json()
    assert changes["whole"] is False
    assert changes["added"] == [grown[2]]
    assert changes["changed"] == [{"id": 1, "city": "Turin"}]
    assert changes["removed"] == [{"id": 2}]
    assert (await client.get(f"{url}/last/changes")).json()["whole"] is True
    listed = (await client.get(url)).json()
    assert [version["version"] for version in listed["versions"]] == [1, 2, 3]


async def test_what_a_grant_hides_is_in_no_event_no_version_and_no_change(
    plane: Plane, feed: str, client: httpx2.AsyncClient
) -> None:
    await publish(plane, feed, ROWS)
    await publish(plane, feed, [ROWS[0] | {"city": "Quito"}, ROWS[1] | {"secret": "B"}, ROWS[2] | {"city": "Oslo"}])
    granted = await plane.feeds.grant(feed, where="city = 'Oslo'", columns=["id", "name", "city"])
    url = granted.resource_url
    async with listening(client, f"{url}?since=first") as stream:
        event = await anext(stream)
    assert event.data["columns"] == ["id", "name", "city"]
    assert not {"rows", "digest", "size", "delta", "body_id"} & event.data.keys()
    assert [row["id"] for row in (await client.get(f"{url}/1")).json()] == [1, 2]
    assert (await client.get(f"{url}/2")).json() == [
        {"id": 2, "name": "Bob", "city": "Oslo"},
        {"id": 3, "name": "Cem", "city": "Oslo"},
    ]
    changes = (await client.get(f"{url}/2/changes?since=1")).json()
    assert (changes["added"], changes["changed"], changes["removed"]) == (
        [{"id": 3, "name": "Cem", "city": "Oslo"}],
        [],
        [{"id": 1}],
    )
    everything = (await client.get(url)).text + (await client.get(f"{url}/2")).text + json.dumps(changes)
    assert "secret" not in everything


async def test_a_column_that_is_hidden_did_not_change(plane: Plane, feed: str, client: httpx2.AsyncClient) -> None:
    rows = [{"id": number, "name": uuid4().hex, "secret": uuid4().hex} for number in range(50)]
    await publish(plane, feed, rows)
    await publish(plane, feed, [rows[0] | {"secret": "B"}, rows[1] | {"name": "Rob"}, *rows[2:]])
    url = (await plane.feeds.grant(feed, columns=["id", "name"])).resource_url
    changes = (await client.get(f"{url}/2/changes?since=1")).json()
    assert changes["changed"] == [{"id": 1, "name": "Rob"}]
    nameless = (await plane.feeds.grant(feed, columns=["name"])).resource_url
    assert (await client.get(f"{nameless}/2/changes?since=1")).json()["whole"] is True


async def test_what_is_not_there_is_said(plane: Plane, feed: str, client: httpx2.AsyncClient) -> None:
    early = (await plane.feeds.grant(feed)).resource_url
    assert (await client.get(early)).json()["code"] == "feed_not_found"
    published = await plane.publish(ROWS, feed=feed, key="id", uses="unlimited")
    await publish(plane, feed, ROWS[:1], retention=Retention(versions=1))
    granted = await plane.feeds.grant(feed)
    url = granted.resource_url
    for path, status in [("/1", 410), ("/9", 410), ("/x", 400), ("/2/changes?since=x", 400), ("?sinc=1", 400)]:
        assert (await client.get(url + path)).status_code == status, path
    assert (await client.post(url)).status_code == 405
    assert (await client.get(f"{url}/2/more")).status_code == 404
    body = published.resource_url.rpartition("/")[2]
    assert (await client.get(f"{plane.bridge_url}/v1/feeds/{body}")).json()["code"] == "forbidden"
    assert (await client.get(f"{plane.bridge_url}/s2sp/data/{granted.grant}")).json()["code"] == "forbidden"
    assert (await client.get(f"{plane.bridge_url}/v1/feeds/{'A' * 80}")).status_code == 404
