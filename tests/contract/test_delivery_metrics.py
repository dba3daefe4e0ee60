"""A delivery has the same counters and the same log line over HTTP and over NATS."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest

from broker_plane import Plane
from broker_plane.errors import GrantUsedError
from broker_plane.logs import FIELDS
from broker_plane.plane.bodies.delivery_audit import FAILURES, WAYS
from broker_plane.runtime.pulls import Via
from tests.faults.http_reader import get

pytestmark = pytest.mark.anyio
ROUTES = {"http": "/s2sp/data/…", "nats": "bp.pull.…"}
ROWS = [{"name": f"name {number}", "number": number} for number in range(100)]


async def counted(plane: Plane) -> dict[str, int]:
    """The counters of the plane's own bridge, by name and labels."""
    text = (await get(f"{plane.bridge_url}/metrics")).body.decode()
    return {name: int(value) for name, value in re.findall(r"^broker_plane_(\S+) (\d+)$", text, re.MULTILINE)}


async def test_every_known_series_is_there_before_the_first_delivery(plane: Plane) -> None:
    begun = await counted(plane)
    of_ways = ("body_bytes", "deliveries_complete", "deliveries_broken", "forged_grants", "bodies_lost")
    expected = [f'{name}_total{{way="{way}"}}' for name in of_ways for way in WAYS]
    expected += [f'transfers_failed_total{{why="{why}"}}' for why in FAILURES]
    routes = [*ROUTES.values(), "bp.confirm.…", "/s2sp/data/…/confirm", "/v1/feeds/…", "/s2sp/upload/…", "/readyz"]
    expected += [f'requests_total{{route="{route}",status="200"}}' for route in routes]
    assert {name: begun.get(name) for name in expected} == dict.fromkeys(expected, 0)


@pytest.mark.parametrize("via", WAYS)
@pytest.mark.parametrize("size", [1_000, 3_000_000])
async def test_a_delivery_is_counted_by_its_way(
    plane: Plane, caplog: pytest.LogCaptureFixture, via: Via, size: int
) -> None:
    published = await plane.publish(bytes(size), uses=1)
    with caplog.at_level(logging.INFO, "broker_plane"):
        await plane.pull(published.resource_url, via=via)
        with pytest.raises(GrantUsedError):
            await plane.pull(published.resource_url, via=via)
    other = next(way for way in WAYS if way != via)
    found = await counted(plane)
    assert found[f'body_bytes_total{{way="{via}"}}'] == size
    assert found[f'deliveries_complete_total{{way="{via}"}}'] == 1
    assert [found[f'{name}_total{{way="{other}"}}'] for name in ("body_bytes", "deliveries_complete")] == [0, 0]
    lines = [line for line in access_lines(caplog) if line["path"] == ROUTES[via]]
    assert found[f'requests_total{{route="{ROUTES[via]}",status="200"}}'] == len(lines) - 1
    assert found[f'requests_total{{route="{ROUTES[via]}",status="410"}}'] == 1
    assert sum(line["bytes"] for line in lines if line["status"] == 200) == size
    assert [line["status"] for line in lines][-1] == 410
    assert all(line["client"] in ("127.0.0.1", plane.name) for line in lines)
    assert f"refused: grant_used on {ROUTES[via]}" in caplog.messages
    assert published.grant not in caplog.text


async def test_a_few_columns_over_nats_are_counted_as_what_was_sent(plane: Plane) -> None:
    published = await plane.publish(ROWS, uses=1)
    await plane.pull(published.resource_url, columns=["number"], via="nats")
    found = await counted(plane)
    assert 0 < found['body_bytes_total{way="nats"}'] < published.body.size
    assert found['deliveries_complete_total{way="nats"}'] == 1


@pytest.mark.parametrize("via", WAYS)
async def test_a_delivery_that_its_reader_refuses_is_broken(plane: Plane, via: Via) -> None:
    published = await plane.publish(ROWS, uses=1)

    def refuse(body: Any) -> None:
        raise ValueError("not what was expected")

    with pytest.raises(ValueError, match="not what was expected"):
        await plane.pull(published.resource_url, via=via, validate=refuse)
    found = await counted(plane)
    assert found[f'deliveries_broken_total{{way="{via}"}}'] == 1
    assert found[f'deliveries_complete_total{{way="{via}"}}'] == 0
    assert found['transfers_failed_total{why="failure"}'] == 1


def access_lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [getattr(record, FIELDS) for record in caplog.records if record.name == "broker_plane.access"]
