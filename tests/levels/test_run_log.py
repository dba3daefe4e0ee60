"""The log of runs: every record with its code, which is stored once, and the oldest ones make room."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from broker_plane.levels.ports import RunRecord
from broker_plane.runtime.wiring import Wiring
from tests.levels.api import Plant, plant
from tests.levels.test_code_cache import limit

pytestmark = pytest.mark.anyio
RECORD = RunRecord(
    at=1_700_000_000.0,
    transfer_id="f0f0f0f0-0000-4000-8000-000000000000",
    key="a" * 64,
    level="2",
    protocol="x-paged",
    endpoint="http://127.0.0.1:1",
    provider="scripted",
    tier="high",
    attempt=1,
    source="x = 1\n",
    input_digest="b" * 64,
    rung="monty",
    status="failed",
    detail="ValueError: no",
    output_bytes=7,
    output_digest="",
    seconds=0.5,
    input_tokens=100,
)


async def test_records_come_back_whole_and_in_order(planted: Plant) -> None:
    records = [replace(RECORD, attempt=number, at=RECORD.at + number) for number in range(3)]
    records.append(replace(RECORD, source="x = 2\n", status="ok", rung=None, input_tokens=None, attempt=9))
    for record in records:
        await planted.log.note(record)
    assert await planted.records() == records


async def test_code_that_ran_often_is_stored_once(planted: Plant) -> None:
    for number in range(20):
        await planted.log.note(replace(RECORD, attempt=number, source="y = 1\n" * 5000))
    stored = [(name, len(raw)) async for name, raw, _ in planted.runs.entries()]
    assert sum(name.startswith("source.") for name, _ in stored) == 1
    assert sum(size for _, size in stored) < 20 * 1000 + 31_000


async def test_the_oldest_records_make_room_for_new_ones(
    wiring: Wiring, buckets: str, caplog: pytest.LogCaptureFixture
) -> None:
    planted = plant(wiring.connection, buckets)
    await planted.log.note(replace(RECORD, attempt=0))
    await limit(wiring.connection, f"{buckets}_runs", 200_000)
    with caplog.at_level(logging.WARNING, logger="broker_plane"):
        for number in range(1, 41):
            await planted.log.note(replace(RECORD, attempt=number, source=f"x = {number}\n" * 1500))
    records = await planted.records()
    attempts = [record.attempt for record in records]
    assert attempts == list(range(41 - len(attempts), 41))
    assert 5 <= len(attempts) < 40
    assert all(record.source for record in records)
    assert {record.message.split(";")[0] for record in caplog.records} == {"The log of generated code was full"}


async def test_a_record_that_finds_no_room_at_all_ends_no_transfer(
    wiring: Wiring, buckets: str, caplog: pytest.LogCaptureFixture
) -> None:
    planted = plant(wiring.connection, buckets)
    assert await planted.records() == []
    await limit(wiring.connection, f"{buckets}_runs", 1000)
    with caplog.at_level(logging.WARNING, logger="broker_plane"):
        await planted.log.note(replace(RECORD, source="x = 1\n" * 500))
    assert "was not logged" in caplog.text
    assert await planted.records() == []
