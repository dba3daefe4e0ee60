"""Consumers that use mcp-sd 0.1.2 pull from our bridge what our Plane published. Nothing of theirs is changed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from broker_plane import Plane
from broker_plane.config import Settings

from .conftest import Ask

pytestmark = pytest.mark.anyio

ROWS: list[dict[str, Any]] = [
    {
        "event": f"Flood {number}",
        "severity": ["Severe", "Moderate"][number % 2],
        "description": "Wasser, 水, \U0001f30a. " * 20,
        "onset": None if number == 3 else f"2026-11-{number + 1:02}T08:00:00Z",
        "level": number * 1.5,
        "zones": [f"CA{number}", {"kind": "county", "ids": [number]}],
    }
    for number in range(8)
]
ABSTRACT = ["event", "severity"]


@pytest.fixture
async def plane(settings: Settings) -> AsyncIterator[Plane]:
    async with Plane.connect(settings) as plane:
        yield plane


def numbered(row_id: int, *columns: str) -> dict[str, Any]:
    row = ROWS[row_id]
    return {"_row_id": row_id, **{name: row[name] for name in columns or row}}


async def test_resolve_merges_the_abstract_with_the_body(plane: Plane, ask_theirs: Ask) -> None:
    published = await plane.publish(ROWS, abstract=ABSTRACT)
    chosen = [row for row in published.abstract if row["_row_id"] in (4, 0, 3)]
    answer = await ask_theirs(
        "sd_consumer.py",
        function="resolve",
        abstract_data=json.dumps(chosen),
        resource_url=published.resource_url,
    )
    assert answer["rows"] == [numbered(0), numbered(3), numbered(4)]


async def test_resolve_renames_columns_as_its_mapping_says(plane: Plane, ask_theirs: Ask) -> None:
    published = await plane.publish(ROWS, abstract=ABSTRACT)
    answer = await ask_theirs(
        "sd_consumer.py",
        function="resolve",
        abstract_data=json.dumps(published.abstract[:1]),
        resource_url=published.resource_url,
        column_mapping=json.dumps({"event": "alert_type", "level": "metres"}),
    )
    (row,) = answer["rows"]
    assert (row["alert_type"], row["metres"]) == (ROWS[0]["event"], ROWS[0]["level"])
    assert not {"event", "level"} & set(row)


async def test_fetch_data_gets_the_rows_and_columns_that_it_names(plane: Plane, ask_theirs: Ask) -> None:
    published = await plane.publish(ROWS, abstract=ABSTRACT)
    answer = await ask_theirs(
        "sd_consumer.py",
        function="fetch_data",
        resource_url=published.resource_url,
        row_ids=[6, 1],
        columns=["description", "zones"],
    )
    assert sorted(answer["rows"], key=lambda row: row["_row_id"]) == [
        numbered(1, "description", "zones"),
        numbered(6, "description", "zones"),
    ]


async def test_fetch_data_without_a_selection_gets_every_row_and_column(plane: Plane, ask_theirs: Ask) -> None:
    published = await plane.publish(ROWS, abstract=ABSTRACT)
    answer = await ask_theirs("sd_consumer.py", function="fetch_data", resource_url=published.resource_url)
    assert answer["rows"] == [numbered(row_id) for row_id in range(len(ROWS))]


async def test_a_grant_of_one_use_is_gone_at_the_second_try(plane: Plane, ask_theirs: Ask) -> None:
    published = await plane.publish(ROWS, abstract=ABSTRACT, uses=1)
    question = {"function": "fetch_data", "resource_url": published.resource_url}
    assert len((await ask_theirs("sd_consumer.py", **question))["rows"]) == len(ROWS)
    refused = await ask_theirs("sd_consumer.py", **question)
    assert refused["status"] == 410
    assert refused["body"]["error"]


async def test_an_unknown_column_uses_nothing_up(plane: Plane, ask_theirs: Ask) -> None:
    published = await plane.publish(ROWS, abstract=ABSTRACT, uses=1)
    question = {"function": "fetch_data", "resource_url": published.resource_url}
    refused = await ask_theirs("sd_consumer.py", **question, columns=["nothing_like_it"])
    assert refused["status"] == 400
    assert len((await ask_theirs("sd_consumer.py", **question))["rows"]) == len(ROWS)
