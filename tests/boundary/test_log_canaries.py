"""Grants of each kind on each route, spelled in every way, at the level DEBUG: no record of any logger has one."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import Iterator
from contextlib import aclosing, suppress
from urllib.parse import quote, urlsplit

import httpx2
import pytest
import websockets

from broker_plane import Plane
from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.redacted_logs import redact_loggers
from broker_plane.wire.grant import grant_of
from broker_plane.wire.urls import redact
from tests.boundary.test_canaries import hits
from tests.deploy.running import Running

ROWS = [{"a": number, "b": "x" * 20} for number in range(50)]
ROUTES = (
    *("/s2sp/data/{}", "/s2sp/data/{}/confirm", "/s2sp/data/{}/look", "/s2sp/data/{}/page", "/s2sp/upload/{}"),
    *("/v1/feeds/{}", "/v1/feeds/{}/last", "/v1/feeds/{}/1", "/v1/feeds/{}/1/changes?since=0", "/v1/feeds/{}/taken"),
    *("/v1/streams/{}", "/s2sp/data/{}?columns=a", "/s2sp/data/{}/nowhere", "/s2sp/data/{}x", "//s2sp//data//{}"),
    *("/s2sp/data/{}#part", "/S2SP/DATA/{}", "/s2sp%2Fdata%2F{}", "/{}", "/healthz?grant={}", "/metrics?{}={}"),
    *("/readyz/{}", "/s2sp/data/?{}", "/s2sp/data/x?columns={}", "/s2sp/data/x?row_ids={}", "/v1/feeds/x?since={}"),
    *("/v1/feeds/{}?since={}", "/v1/feeds/{}?durable={}", "/s2sp/data/{}?row_ids={}", "/v1/streams/{}?after={}"),
)
HEADERS = ("authorization", "last-event-id", "content-disposition", "upload-offset", "origin", "range", "if-range")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # whose debug mode repeats what its callbacks are called with


def spellings(grant: str) -> Iterator[str]:
    yield from (grant, grant.upper(), grant + "x" * 10, grant[:-1])
    yield quote(grant[:40], safe="") + "".join(f"%{ord(letter):02x}" for letter in grant[40:])
    yield "".join(f"%25{ord(letter):02X}" for letter in grant)


async def over_http(base: str, grants: list[str]) -> list[str]:
    """Asks every route for every grant in every spelling; returns what the bridge said."""
    said = []
    async with httpx2.AsyncClient(base_url=base, trust_env=False, timeout=20) as client:
        for grant in grants:
            spelled = list(spellings(grant))
            for number, route in enumerate(ROUTES):
                path = route.replace("{}", spelled[number % len(spelled)])
                for method in ("GET", "POST", "PUT") if number < 11 else ("GET",):
                    answer = await client.request(method, path, content=b"" if method == "GET" else b"{}")
                    said.append(f"{answer.status_code} {answer.text}")
            for header in HEADERS:
                answer = await client.get(f"/v1/feeds/{grant}", headers={header: f"Bearer {grant}"})
                said.append(answer.text)
            body = json.dumps({"lease": grant, "status": grant, "columns": [grant], "cursor": grant})
            verbs = ("", "/confirm", "/look", "/page")
            said += [(await client.post(f"/s2sp/data/{grant}{verb}", content=body)).text for verb in verbs]
    return said


async def over_sockets(base: str, grants: list[str]) -> None:
    for grant in grants:
        for path in (f"/v1/feeds/{grant}", f"/v1/streams/{grant}", f"/v1/feeds/{grant}?durable={grant}"):
            with suppress(websockets.WebSocketException, TimeoutError):
                async with asyncio.timeout(5), websockets.connect(f"ws{base[4:]}{path}", proxy=None) as socket:
                    await socket.send(json.dumps({"taken": grant}))
                    await socket.recv()
        with suppress(httpx2.HTTPError):
            async with (
                httpx2.AsyncClient(trust_env=False, timeout=2) as client,
                client.stream("GET", f"{base}/v1/feeds/{grant}", headers={"accept": "text/event-stream"}) as answer,
            ):
                await anext(answer.aiter_raw(), b"")


async def by_our_clients(plane: Plane, asker: Plane, urls: list[str]) -> list[str]:
    """Each URL pulled, followed, looked at and paged in each way of ours; returns the errors."""
    said = []
    for url in urls:
        grant = grant_of(url)
        for attempt in (
            *(plane.pull(url, via="http"), plane.pull(url, via="nats"), plane.preview(url)),
            *(asker.pull(grant), asker.preview(grant), plane.upload(url, b"content")),
        ):
            try:
                await attempt
            except BrokerPlaneError as error:
                said += traceback.format_exception(error)
    return said


async def follow_all(plane: Plane) -> list[str]:
    """A live stream by each of its descriptors and over NATS; returns its grants."""
    async with plane.streams.publish("rows") as stream:
        await stream.send({"a": 1})
        for way in stream.offer().descriptors:
            if way.protocol in ("sse", "ws"):
                async with asyncio.timeout(20), aclosing(plane.transfers.follow(way, 0)) as items:
                    await anext(items)
        async with asyncio.timeout(20), aclosing(plane.pulls.follow(stream.grant, 0)) as items:
            await anext(items)
        return [stream.grant]


@pytest.mark.anyio
async def test_no_record_of_any_logger_holds_a_grant(
    plane: Plane, broker: Running, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0
    caplog.set_level(1)
    for name in ("httpx2", "httpcore2.http11", "websockets.client", "uvicorn.error", "nats.aio.client", "asyncio"):
        caplog.set_level(1, name)
    published = [await plane.publish(ROWS, uses=uses or "unlimited") for uses in (0, 0, 1)]
    narrowed = plane.narrow(published[1].resource_url, columns=["a"], uses=2).resource_url
    await plane.publish([{"a": 1}], feed="canaries.feed", key="a")
    feed = (await plane.feeds.grant("canaries.feed")).resource_url
    upload = await plane.uploads.grant(ttl=60)
    uploaded = await plane.upload(upload.upload_url, b"uploaded")
    urls = [*(one.resource_url for one in published), narrowed, feed, upload.upload_url, uploaded.resource_url]
    forged = grant_of(urls[0])[:-1] + ("A" if urls[0][-1] != "A" else "B")
    grants = [*map(grant_of, urls), forged, *await follow_all(plane)]
    async with Plane.guest(broker.address) as asker:
        errors = await by_our_clients(plane, asker, urls)
    # Of a body, narrowed, of a feed and of an upload, forged, of a stream.
    kinds = [grants[index] for index in (0, 3, 4, 5, 7, 8)]
    said = await over_http(plane.bridge_url, kinds)
    await over_sockets(plane.bridge_url, kinds)
    loop.set_debug(False)

    loggers = {record.name for record in caplog.records}
    assert loggers >= {"broker_plane.access", "httpx2", "httpcore2.http11", "websockets.client", "asyncio"}
    wanted = [*grants, *(grant.upper() for grant in grants)]
    assert hits(caplog.text, wanted) == []
    assert not any(f"%25{ord(letter):02X}" * 2 in caplog.text for letter in "AQ")
    assert hits("\n".join(errors), wanted) == []
    # A bridge repeats nothing of a grant but where the answer is one: the feed's own notices, a body's place.
    assert hits("\n".join(text for text in said if text[:1] in "45"), wanted) == []


@pytest.mark.parametrize(
    "written",
    [
        "GET {u}/s2sp/data/{g}/page 200",
        "GET {u}/v1/feeds/{g}/7/changes?since=1",
        "{u}/v1/streams/{g}#end",
        "PUT {u}/s2sp/upload/{g}",
        "//s2sp//data//short and /S2SP/Data/short",
        "/s2sp%2Fdata%2f{p}",
        "{p}",
        "(b'content-location', b'../data/{g}')",
        "bp.pull.{g}.asker bp.confirm.{g}.asker",
        "bp.say.edit.{g}.asker and crm.say.read.{g}.{g}",
        '{{"auth_token":"{g}"}}',
        "Bearer {g}",
        "r=\\r\\n{g}\\r\\n",
    ],
)
def test_a_grant_is_taken_out_wherever_it_stands(written: str) -> None:
    grant = "AQJz-_8x" * 10
    text = written.format(u="http://h:1", g=grant, p="".join(f"%{ord(letter):02X}" for letter in grant))
    safe = redact(text)
    assert "AQJz" not in safe
    assert "short" not in safe
    assert "%41%51" not in safe
    assert "…" in safe
    assert redact(safe) == safe


def test_a_traceback_and_arguments_are_redacted_too(caplog: pytest.LogCaptureFixture) -> None:
    grant = "AQJz-_8x" * 10
    redact_loggers("tests.canaries")
    log = logging.getLogger("tests.canaries")
    try:
        raise ValueError(f"http://h/v1/feeds/{grant} failed")
    except ValueError:
        log.exception("asked for %s with %r", f"bp.pull.{grant}.x", {"url": f"http://h/s2sp/data/{grant}"})
    log.warning("%s", urlsplit(f"http://h/s2sp/data/{grant}"), stack_info=True)
    assert "AQJz" not in caplog.text
    assert "Traceback" in caplog.text
    assert caplog.text.count("…") >= 4
