"""The registry over HTTP: read-only, without a grant, and as the catalogue of server cards of SEP-2127."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from broker_plane import Plane
from broker_plane.config import Settings, load_settings
from broker_plane.registry.canonical import digest_of
from broker_plane.registry.registered import builtin_protocols
from broker_plane.registry.signing import verify

pytestmark = pytest.mark.anyio

CARD = "application/mcp-server-card+json"


def frames(owner: str, version: str = "1.0.0", **members: Any) -> dict[str, Any]:
    return {
        "id": f"{owner}/frames",
        "version": version,
        "title": "Frames with a length",
        "summary": "Each frame has a length of four bytes before its content, which is a JSON document. " * 2,
        "format": "application/x-frames",
        "tiers": {"high": "Read four bytes, big-endian; then as many as they say."},
    } | members


@pytest.fixture
async def publisher(settings: Settings) -> AsyncIterator[Plane]:
    own = load_settings(nats_url=settings.nats_url, data_dir=settings.data_dir, owner=f"o{secrets.token_hex(4)}")
    async with Plane.connect(own) as plane:
        yield plane


async def get(client: httpx2.AsyncClient, plane: Plane, path: str, status: int = 200) -> Any:
    answer = await client.get(plane.bridge_url + path)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_a_description_is_read_and_verified_by_anybody(client: httpx2.AsyncClient, publisher: Plane) -> None:
    owner = publisher.settings.owner
    for version in ("1.9.0", "1.10.0"):
        await publisher.protocols.publish(frames(owner, version))
    for path, version in (
        ("", "1.10.0"),
        ("?version=~1.9", "1.9.0"),
        ("/1.9.0", "1.9.0"),
    ):
        found = await get(client, publisher, f"/protocols/{owner}/frames{path}")
        assert found["description"] == frames(owner, version)
        assert found["digest"] == f"sha256:{digest_of(found['description'])}"
        signature = found["entry"]["signatures"][0]
        statement = {
            "statement": "broker-plane registry: version of a protocol, 1",
            "id": f"{owner}/frames",
            "version": version,
            "digest": found["digest"].removeprefix("sha256:"),
            "published": found["entry"]["published"],
        }
        verify(statement, signature["signature"], found["owner"]["keys"][-1]["key"])
        assert await get(client, publisher, f"/protocols/{found['digest']}") == found
    versions = await get(client, publisher, f"/protocols/{owner}/frames/versions")
    assert [each["version"] for each in versions["versions"]] == ["1.9.0", "1.10.0"]
    head = await client.head(f"{publisher.bridge_url}/protocols/{owner}/frames")
    assert (head.status_code, head.content) == (200, b"")


async def test_lists_and_searches_are_bounded_pages(client: httpx2.AsyncClient, publisher: Plane) -> None:
    owner = publisher.settings.owner
    await publisher.protocols.publish(frames(owner))
    names, after = [], ""
    while True:
        page = await get(client, publisher, f"/protocols?limit=7&after={after}")
        names += [each["id"] for each in page["protocols"]]
        assert len(page["protocols"]) <= 7
        if "next" not in page:
            break
        after = page["next"]
    assert names == sorted(set(names))
    assert {f"{owner}/frames", *builtin_protocols()} <= set(names)
    assert [each["id"] for each in (await get(client, publisher, f"/protocols?owner={owner}"))["protocols"]] == [
        f"{owner}/frames"
    ]
    found = await get(client, publisher, f"/protocols/search?q=length+of+frames&owner={owner}")
    assert [each["id"] for each in found["protocols"]] == [f"{owner}/frames"]
    found = await get(client, publisher, "/protocols/search?q=paginated+json&auth=bearer&format=json&limit=3")
    assert len(found["protocols"]) == 3


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/protocols/nobody/frames", 404, "not_registered"),
        ("/protocols/builtin/http-range/9.0.0", 404, "not_registered"),
        ("/protocols/builtin/http-range/newest", 404, "not_registered"),
        ("/protocols/builtin/nothing", 404, "not_registered"),
        ("/protocols/abc", 404, "not_registered"),
        ("/protocols/sha256:" + "0" * 64, 404, "not_registered"),
        ("/protocols/NOBODY/frames", 400, "registry"),
        ("/protocols/a.b/frames", 400, "registry"),
        ("/protocols/nobody/%2A", 400, "registry"),
        ("/protocols/builtin/http-range?version=latest", 400, "registry"),
        ("/protocols/builtin/http-range?versoin=1.0.0", 400, "bad_selector"),
        ("/protocols/search?tier=highest", 400, "registry"),
        ("/protocols?limit=0", 400, "bad_request"),
        ("/protocols?limit=501", 400, "bad_request"),
    ],
)
async def test_a_wrong_request_is_answered_by_name(
    client: httpx2.AsyncClient, publisher: Plane, path: str, status: int, code: str
) -> None:
    assert (await get(client, publisher, path, status))["code"] == code
    assert (await client.post(publisher.bridge_url + "/protocols", json={})).status_code == 405


async def test_the_registry_is_a_catalogue_of_server_cards(client: httpx2.AsyncClient, publisher: Plane) -> None:
    owner, server = publisher.settings.owner, "https://mcp.example/mcp"
    await publisher.protocols.publish(frames(owner, servers=[server]))
    forms = {
        "/.well-known/mcp/catalog.json": ("draft", "application/json"),
        "/.well-known/ai-catalog.json": ("1.0", "application/ai-catalog+json"),
    }
    for path, (version, media_type) in forms.items():
        answer = await client.get(publisher.bridge_url + path, headers={"Origin": "https://page.example"})
        assert answer.headers["content-type"] == media_type
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "max-age" in answer.headers["cache-control"]
        catalogue = answer.json()
        assert catalogue.keys() == {"specVersion", "entries"}
        assert catalogue["specVersion"] == version
        by_name = {each["identifier"].rpartition(":")[2]: each for each in catalogue["entries"]}
        assert {f"{owner}.frames", "builtin.http-range"} <= by_name.keys()
        for entry in catalogue["entries"]:
            assert entry.keys() == {"identifier", "displayName", "type", "url"}
            assert re.fullmatch(r"urn:air:[a-z0-9.-]+:mcp:[a-z0-9._-]+", entry["identifier"])
            assert entry["type"] == CARD
    for name, remotes in (
        (f"{owner}.frames", [{"type": "streamable-http", "url": server}]),
        ("builtin.csv-download", None),
    ):
        entry = by_name[name]
        answer = await client.get(entry["url"], headers={"Accept": CARD})
        assert answer.headers["content-type"] == CARD
        assert answer.headers["access-control-allow-origin"] == "*"
        card = answer.json()
        # The constraints of schema.json of the extension (modelcontextprotocol/experimental-ext-server-card).
        assert card["$schema"] == "https://static.modelcontextprotocol.io/schemas/v1/server-card.schema.json"
        assert re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", card["name"])
        assert card["name"].partition("/")[2] == name
        assert 1 <= len(card["description"]) <= 100
        assert 1 <= len(card["title"]) <= 100
        assert card.get("remotes") == remotes
        described = (await client.get(card["_meta"]["io.broker-plane/transfer"]["description"])).json()
        assert described["digest"] == card["_meta"]["io.broker-plane/transfer"]["digest"]


async def test_an_operator_may_keep_the_registry_inside(client: httpx2.AsyncClient, settings: Settings) -> None:
    closed = load_settings(nats_url=settings.nats_url, data_dir=settings.data_dir, serve_protocols=False)
    async with Plane.connect(closed) as plane:
        for path in ("/protocols", "/protocols/builtin/http-range", "/.well-known/mcp/catalog.json"):
            assert (await client.get(plane.bridge_url + path)).status_code == 404
