"""Pages of other origins in a real browser: what the bridge's operator listed works, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from broker_plane import Plane
from broker_plane.config import Settings, load_settings
from tests.interop.browser import Pages, serving_pages
from tests.interop.conftest import npm_installed

pytestmark = pytest.mark.anyio
ROWS = [{"event": "Flood", "n": 1}, {"event": "Heat", "n": 2}]
ALLOWED = {
    "rows": [ROWS, "2", True],
    "selector": 2,
    "token": 200,
    "range": [206, True],
    "refusal": 404,
    "look": 2,
    "feed": 1,
    "stream": True,
    "socket": "notice",
    "put": [201, True],
    "tus": "stored",
    "ietf": "stored",
    "credentials": "refused",
    "metrics": "refused",
}
REFUSED = dict.fromkeys(ALLOWED, "refused")


@pytest.fixture(scope="session")
def tus_modules() -> Path:
    return npm_installed("tus", "tus-js-client@4.3.1")


@pytest.fixture
def pages(tus_modules: Path, tmp_path: Path) -> Iterator[Pages]:
    with serving_pages(tus_modules, tmp_path / "profile") as serving:
        yield serving


async def found(pages: Pages, settings: Settings, origins: str, feed: str) -> tuple[Any, list[bool]]:
    """What a page finds at a bridge with these origins, and which of the three uploads are complete after it."""
    listed = load_settings(nats_url=settings.nats_url, data_dir=settings.data_dir, cors_origins=origins)
    async with Plane.connect(listed) as plane, plane.streams.publish() as stream:
        published = await plane.publish(ROWS, uses="unlimited")
        await plane.publish(ROWS, feed=feed, key="n")
        await stream.send({"text": "seven"})
        uploads = [await plane.uploads.grant(ttl=300, uses="unlimited") for _ in range(3)]
        asked = {
            "data": published.resource_url,
            "feed": (await plane.feeds.grant(feed)).resource_url + "?since=first",
            "stream": stream.resource_url,
            "uploads": [each.upload_url for each in uploads],
        }
        came = await anyio.to_thread.run_sync(lambda: pages.open(**asked))
        bodies = {body.id for body in await plane.bodies.list()}
        stored = [each.body_id in bodies for each in uploads]
        return came, stored


async def test_a_listed_page_reads_listens_and_uploads(pages: Pages, settings: Settings) -> None:
    origins = f"https://app.example, {pages.origin}"
    assert await found(pages, settings, origins, "cors.listed") == (ALLOWED, [True] * 3)


async def test_with_a_star_every_page_does(pages: Pages, settings: Settings) -> None:
    assert await found(pages, settings, "*", "cors.star") == (ALLOWED, [True] * 3)


async def test_no_other_page_does_and_nothing_is_stored(pages: Pages, settings: Settings) -> None:
    came, stored = await found(pages, settings, "https://app.example,http://localhost:1", "cors.others")
    assert came == REFUSED
    assert stored == [False] * 3
