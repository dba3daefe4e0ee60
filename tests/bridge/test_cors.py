"""CORS: which pages of other origins may read and write, told by the headers that a browser obeys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx2
import pytest

from broker_plane import Plane
from broker_plane.config import Settings, load_settings
from broker_plane.errors import ConfigError
from broker_plane.web.cors import parse_cors

pytestmark = pytest.mark.anyio
PAGE = "https://app.example"
LISTED = f"{PAGE}, http://localhost:5173,https://bücher.example, http://[fd00::5]:3000/"
LOOKALIKES = [
    "http://app.example",
    "https://app.example:8443",
    "https://app.example.evil.example",
    "https://evil-app.example",
    "https://sub.app.example",
    "https://app.example@evil.example",
    "https://evil.example#https://app.example",
    "http://localhost:5174",
    "http://127.0.0.1:5173",
    "https://localhost:5173",
    "http://[fd00::6]:3000",
    "null",
    "*",
    "",
    "app.example",
    "https://app.example, https://app.example",
]
"""None of them is one of LISTED."""


@pytest.fixture
def anyio_backend() -> str:
    """Headers are the same on every loop."""
    return "asyncio"


@dataclass
class Site:
    plane: Plane
    client: httpx2.AsyncClient
    data: str
    feed: str
    stream: str
    upload: str

    async def ask(self, method: str, url: str, origin: str | None = PAGE, **headers: str) -> httpx2.Response:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.request(method, url, headers=fields | ({} if origin is None else {"origin": origin}))

    async def preflight(self, url: str, origin: str, method: str, **headers: str) -> httpx2.Response:
        return await self.ask("OPTIONS", url, origin, access_control_request_method=method, **headers)


async def site(settings: Settings, origins: str) -> AsyncIterator[Site]:
    listed = load_settings(nats_url=settings.nats_url, data_dir=settings.data_dir, cors_origins=origins)
    client = httpx2.AsyncClient(verify=False, trust_env=False, timeout=20)
    async with Plane.connect(listed) as plane, client, plane.streams.publish() as stream:
        published = await plane.publish([{"event": "Flood"}], uses="unlimited")
        feed = f"cors.f{len(origins)}"
        await plane.publish([{"event": "Flood"}], feed=feed, key="event")
        upload = await plane.uploads.grant(ttl=60, uses="unlimited")
        granted = (await plane.feeds.grant(feed)).resource_url
        yield Site(plane, client, published.resource_url, granted, stream.resource_url, upload.upload_url)


@pytest.fixture
async def listed(settings: Settings) -> AsyncIterator[Site]:
    async for each in site(settings, LISTED):
        yield each


@pytest.fixture
async def starred(settings: Settings) -> AsyncIterator[Site]:
    async for each in site(settings, "*"):
        yield each


@pytest.fixture
async def silent(settings: Settings) -> AsyncIterator[Site]:
    async for each in site(settings, ""):
        yield each


def spoken(answer: httpx2.Response) -> set[str]:
    return {name for name in answer.headers if name.startswith("access-control-")}


async def test_by_default_there_is_no_header_of_cors(silent: Site) -> None:
    for url in (silent.data, silent.upload, f"{silent.plane.bridge_url}/healthz"):
        for answer in (await silent.ask("GET", url), await silent.preflight(url, PAGE, "PUT")):
            assert not spoken(answer)
            assert "Origin" not in answer.headers.get("vary", "")
    assert (await silent.ask("PUT", silent.upload)).status_code == 403


@pytest.mark.parametrize(
    "origin",
    [PAGE, "HTTPS://App.Example", "https://app.example:443", "http://localhost:5173", "http://[FD00:0::5]:3000"],
)
async def test_a_listed_origin_reads_and_writes(listed: Site, origin: str) -> None:
    for url in (listed.data, f"{listed.feed}/latest", listed.data[:-4] + "AAAA"):
        answer = await listed.ask("GET", url, origin)
        assert answer.headers["access-control-allow-origin"] == origin
        assert "Origin" in answer.headers["vary"]
        assert {"BP-Lease", "ETag", "Upload-Offset", "Content-Range"} <= set(
            answer.headers["access-control-expose-headers"].split(", ")
        )
        assert "access-control-allow-credentials" not in answer.headers
    assert (await listed.ask("PUT", listed.upload, origin)).status_code == 201


@pytest.mark.parametrize("origin", LOOKALIKES)
async def test_no_other_origin_does(listed: Site, origin: str) -> None:
    for answer in (
        await listed.ask("GET", listed.data, origin),
        await listed.preflight(listed.data, origin, "POST"),
        await listed.preflight(listed.upload, origin, "PATCH"),
    ):
        assert not spoken(answer)
        assert "Origin" in answer.headers["vary"]
    if origin:
        assert (await listed.ask("PUT", listed.upload, origin)).status_code == 403


@pytest.mark.parametrize(
    ("place", "method"),
    [("data", "GET"), ("data", "POST"), ("feed", "GET"), ("stream", "GET")]
    + [("upload", method) for method in ("PUT", "PATCH", "HEAD", "POST", "DELETE")],
)
async def test_a_preflight_is_answered_without_the_grant(listed: Site, place: str, method: str) -> None:
    url = getattr(listed, place)[:-4] + "AAAA"
    wanted = "tus-resumable, upload-offset, upload-complete, content-type, authorization, if-none-match, range"
    answer = await listed.preflight(url, PAGE, method, access_control_request_headers=wanted)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert method in answer.headers["access-control-allow-methods"].split(", ")
    allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
    assert set(wanted.split(", ")) <= set(allowed)
    assert "access-control-allow-private-network" not in answer.headers


async def test_a_private_network_opens_to_named_pages_only(listed: Site, starred: Site) -> None:
    asked = {"access_control_request_private_network": "true"}
    named = await listed.preflight(listed.data, PAGE, "POST", **asked)
    assert named.headers["access-control-allow-private-network"] == "true"
    anybody = await starred.preflight(starred.data, PAGE, "POST", **asked)
    assert anybody.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-private-network" not in anybody.headers


async def test_a_star_is_every_origin_and_the_answer_depends_on_none(starred: Site) -> None:
    for origin in (PAGE, "null", "http://evil.example", None):
        answer = await starred.ask("GET", starred.data, origin)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "Origin" not in answer.headers["vary"]
        assert "access-control-allow-credentials" not in answer.headers
        assert (await starred.ask("PUT", starred.upload, origin)).status_code in (201, 409)  # the second is too late


async def test_routes_that_are_not_for_pages_say_nothing(listed: Site, starred: Site) -> None:
    for one in (listed, starred):
        for path in ("/metrics", "/healthz", "/readyz", "/openapi.yaml", "/s2sp/health", "/nothing"):
            assert not spoken(await one.ask("GET", one.plane.bridge_url + path))
            assert not spoken(await one.preflight(one.plane.bridge_url + path, PAGE, "GET"))


async def test_options_without_a_preflight_still_say_what_may_be_uploaded(listed: Site) -> None:
    answer = await listed.ask("OPTIONS", listed.upload)
    assert answer.headers["tus-version"] == "1.0.0"
    assert answer.headers["access-control-allow-origin"] == PAGE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("app.example", "scheme"),
        ("localhost:5173", "scheme"),
        ("https://app.example/path", "without a path"),
        ("https://app.example?x", "without a path"),
        ("https://*.example", "wildcard"),
        ("https://app.example:*", "wildcard"),
        ("*, https://app.example", "every origin"),
        ("null", "sandboxed"),
        ("https://user@app.example", "not an origin"),
        ("https://app.example:99999", "not an origin"),
        ("https://", "not an origin"),
        ("'https://app.example'", "not an origin"),
        ("https://app.example https://b.example", "not an origin"),
    ],
)
def test_what_is_no_origin_is_refused_with_a_sentence(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"BROKER_PLANE_CORS_ORIGINS: .*" + said):
        parse_cors(text)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("https://APP.example", "https://app.example:443"),
        ("http://app.example/", "http://app.example:80"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("http://[FD00:0:0::5]:3000", "http://[fd00::5]:3000"),
        ("https://app.example.", "https://app.example"),
        ("tauri://localhost", "TAURI://localhost"),
        ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
        (" https://a.example ,,https://b.example", "https://b.example,https://a.example"),
        ("", " , "),
    ],
)
def test_an_origin_has_one_meaning_in_every_spelling(text: str, same: str) -> None:
    assert parse_cors(text) == parse_cors(same)
