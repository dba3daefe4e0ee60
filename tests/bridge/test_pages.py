"""Pages: a body part by part, at any bridge, and one delivery in the end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import httpx2
import pytest

from broker_plane.plane.bodies.publish import StoredBody
from broker_plane.wire.caveats import Columns, Where
from broker_plane.wire.grant import narrow
from tests.bridge.bodies import ROWS, Bridge, serving_bodies

pytestmark = pytest.mark.anyio
MANY = [{"n": number, "text": f"row {number} " + "ä" * (number % 40)} for number in range(3000)]
LIMIT = 4096


async def ask(bridge: Bridge, grant: str, cursor: str = "", **more: Any) -> httpx2.Response:
    asked = {"cursor": cursor, "limit": LIMIT, **more}
    return await bridge.client.post(f"{bridge.server.url}/s2sp/data/{grant}/page", json=asked)


async def pages(bridge: Bridge, grant: str, cursor: str = "") -> AsyncIterator[httpx2.Response]:
    while True:
        answer = await ask(bridge, grant, cursor)
        assert answer.status_code == 200, answer.text
        yield answer
        if not (cursor := answer.headers.get("bp-cursor", "")):
            return


async def rows_of(bridge: Bridge, grant: str, cursor: str = "") -> list[dict[str, Any]]:
    return [row async for page in pages(bridge, grant, cursor) for row in page.json()]


async def used(bridge: Bridge, published: StoredBody) -> bool:
    return (await bridge.get(published)).status_code == 410


async def test_rows_come_part_by_part_and_are_one_delivery(bridge: Bridge) -> None:
    published = await bridge.publish(MANY, uses=1)
    seen, sizes, parts = [], [], []
    async for page in pages(bridge, published.grant):
        seen += page.json()
        sizes.append(len(page.content))
        parts.append(page.headers["bp-part"])
    assert seen == MANY
    assert max(sizes) <= LIMIT
    assert parts[0].startswith("rows 0-") and parts[-1] == f"rows */{len(MANY)}"
    assert await used(bridge, published)


async def test_a_body_of_one_page_is_delivered_with_it(bridge: Bridge) -> None:
    published = await bridge.publish(ROWS, uses=1)
    answer = await ask(bridge, published.grant)
    assert (answer.json(), answer.headers["bp-part"]) == (ROWS, "rows 0-2/3")
    assert "bp-cursor" not in answer.headers
    assert await used(bridge, published)


async def test_no_rows_and_no_bytes_are_a_page(bridge: Bridge) -> None:
    for empty, content in (([], b"[]"), (b"", b"")):
        published = await bridge.publish(empty, uses=1)
        answer = await ask(bridge, published.grant)
        assert (answer.status_code, answer.content) == (200, content)


@pytest.mark.parametrize("data", [bytes(range(256)) * 80, ("ä水🌊 " * 3000).encode()], ids=["bytes", "text"])
async def test_bytes_come_part_by_part(bridge: Bridge, data: bytes) -> None:
    published = await bridge.publish(data, uses=1, media_type="text/plain")
    got = [page.content async for page in pages(bridge, published.grant)]
    assert sha256(b"".join(got)).hexdigest() == published.body.digest
    assert len(got) > len(data) // LIMIT
    if data[0]:
        for part in got:
            part.decode()  # no character is cut
    assert await used(bridge, published)


async def test_what_was_cut_goes_on_where_it_was_at_another_bridge(bridge: Bridge) -> None:
    published = await bridge.publish(MANY, uses=1)
    first = await ask(bridge, published.grant)
    cursor = first.headers["bp-cursor"]
    async with serving_bodies(bridge.wiring) as other:
        assert (await ask(other, published.grant, cursor)).content == (
            await ask(bridge, published.grant, cursor)
        ).content
        assert first.json() + await rows_of(other, published.grant, cursor) == MANY
    assert await used(bridge, published)


async def test_under_way_it_holds_the_use_and_the_end_may_be_asked_for_twice(bridge: Bridge) -> None:
    published = await bridge.publish(MANY, uses=1)
    cursor = (await ask(bridge, published.grant)).headers["bp-cursor"]
    assert (await bridge.get(published)).status_code == 409
    first = cursor
    while following := (answer := await ask(bridge, published.grant, cursor)).headers.get("bp-cursor"):
        cursor = following
    assert answer.json() == []
    assert (await ask(bridge, published.grant, cursor)).json() == []
    # What was delivered is not given again, and neither is it given anew.
    assert (await ask(bridge, published.grant, first)).json()["code"] == "lease_lost"
    assert (await ask(bridge, published.grant)).json()["code"] == "grant_used"


async def test_a_narrowed_grant_shows_no_more_by_pages(bridge: Bridge) -> None:
    published = await bridge.publish(MANY, uses=0)
    grant = narrow(published.grant, Where("n >= 1000 and n < 2000"), Columns(("text",)))
    assert await rows_of(bridge, grant) == [{"text": row["text"]} for row in MANY[1000:2000]]


async def test_a_row_above_the_limit_is_refused_and_nothing_is_used_up(bridge: Bridge) -> None:
    published = await bridge.publish([{"text": "y" * LIMIT}], uses=1)
    answer = await ask(bridge, published.grant)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert (await bridge.get(published)).status_code == 200


async def test_a_body_above_what_may_go_inline_is_refused(bridge: Bridge) -> None:
    published = await bridge.publish(bytes(5000), uses=1)
    assert (await ask(bridge, published.grant, most=4999)).status_code == 413
    assert (await ask(bridge, published.grant, most=5000)).status_code == 200


@pytest.mark.parametrize(
    "asked",
    [
        {"cursor": "x"},
        {"cursor": 5},
        {"cursor": "A" * 22 + "..9999999.0.0"},
        {"cursor": "A" * 22 + "..1.99.0"},
        {"limit": 511},
        {"limit": True},
        {"limit": 1 << 40},
        {"most": -1},
        {"most": "7"},
    ],
)
async def test_a_request_for_no_page_is_400(bridge: Bridge, asked: dict[str, Any]) -> None:
    for data in (MANY, bytes(9000)):
        published = await bridge.publish(data)
        answer = await ask(bridge, published.grant, **asked)
        if data is not MANY and str(asked.get("cursor")).endswith(".1.99.0"):
            continue  # the place of a row says nothing of bytes
        assert answer.status_code == 400, answer.text


async def test_what_is_read_by_pages_stands_in_audit_and_metrics(bridge: Bridge) -> None:
    published = await bridge.publish(MANY, uses=1)
    assert json.dumps(await rows_of(bridge, published.grant))
    metrics = (await bridge.open("/metrics")).text
    assert 'broker_plane_deliveries_complete_total{way="http"} 1' in metrics
    assert 'route="/s2sp/data/…/page",status="200"' in metrics
