"""Pages and their lease by the clock, and pages of any size over frames of any size."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_plane.errors import (
    BrokerPlaneError,
    GrantInUseError,
    GrantUsedError,
    LeaseLostError,
    SelectorError,
    WireError,
)
from broker_plane.plane.bodies.pages import Pages, _whole_characters
from broker_plane.plane.grants.leases import Lease
from broker_plane.plane.grants.state import LEASE_SECONDS
from broker_plane.wire.caveats import Rows
from broker_plane.wire.grant import narrow
from broker_plane.wire.page import Cursor, Page, PageRequest, page_of, parse_cursor, parse_page_request
from broker_plane.wire.rows import parse_rows
from tests.examples import examples
from tests.unit.memory import Memory

pytestmark = pytest.mark.anyio
ROWS: list[dict[str, Any]] = [{"n": number, "text": "x" * (number % 90)} for number in range(100)]
LIMIT = 1024


async def page(plane: Memory, grant: str, cursor: str = "", limit: int = LIMIT) -> Page:
    opened = await plane.deliveries.open(grant)
    return await Pages(plane.deliveries).page(opened, PageRequest(parse_cursor(cursor) if cursor else None, limit))


async def rest(plane: Memory, grant: str, cursor: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    while cursor:
        found = await page(plane, grant, cursor)
        rows, cursor = rows + json.loads(found.content), found.next
    return rows


async def test_who_comes_back_after_a_long_time_goes_on() -> None:
    plane = Memory(ROWS)
    grant = await plane.mint(uses=1)
    first = await page(plane, grant)
    plane.now += 3 * LEASE_SECONDS
    assert json.loads(first.content) + await rest(plane, grant, first.next) == ROWS
    with pytest.raises(GrantUsedError):
        await page(plane, grant)


async def test_the_use_of_who_stays_away_is_anothers() -> None:
    plane = Memory(ROWS)
    grant = await plane.mint(uses=1)
    mine = await page(plane, grant)
    with pytest.raises(GrantInUseError):
        await page(plane, grant)
    plane.now += 2 * LEASE_SECONDS
    other = await page(plane, grant)
    with pytest.raises(GrantInUseError):
        await page(plane, grant, mine.next)
    assert json.loads(other.content) + await rest(plane, grant, other.next) == ROWS
    with pytest.raises(GrantUsedError):
        await page(plane, grant, mine.next)


async def test_each_of_several_uses_is_one_delivery() -> None:
    plane = Memory(ROWS)
    grant = await plane.mint(uses=2)
    one, two = await page(plane, grant), await page(plane, grant)
    for begun in (one, two):
        assert json.loads(begun.content) + await rest(plane, grant, begun.next) == ROWS
    for begun in (one, two):
        with pytest.raises(LeaseLostError):  # and what is delivered is not given again
            await page(plane, grant, begun.next)
    with pytest.raises(GrantUsedError):
        await page(plane, grant)


@given(
    lengths=st.lists(st.integers(0, 900), max_size=60),
    frame_rows=st.integers(1, 20),
    limit=st.integers(1024, 6000),
    part=st.none() | st.just("3-9,20-40"),
)
@settings(max_examples=examples(0.6), deadline=None)
def test_whatever_the_sizes_all_rows_come_once_and_in_order(
    lengths: list[int], frame_rows: int, limit: int, part: str | None
) -> None:
    rows: list[dict[str, Any]] = [
        {"n": place, **({"text": "ä" * (size // 2)} if size % 3 else {})} for place, size in enumerate(lengths)
    ]

    async def pages() -> None:
        plane = Memory(rows, frame_rows)
        grant = await plane.mint(uses=1)
        wanted = rows
        if part:
            grant = narrow(grant, Rows(parse_rows(part)))
            wanted = [row for row in rows if 3 <= row["n"] <= 9 or 20 <= row["n"] <= 40]
        seen: list[dict[str, Any]] = []
        cursor, first = "", True
        while cursor or first:
            found = await page(plane, grant, cursor, limit)
            assert (len(found.content) <= limit, found.first, found.total) == (True, len(seen), len(wanted))
            seen += json.loads(found.content)
            cursor, first = found.next, False
        assert seen == wanted

    asyncio.run(pages())


@given(st.text(max_size=50), st.integers(0, 200))
def test_text_is_cut_between_characters(text: str, at: int) -> None:
    raw = text.encode(errors="replace")[:at]
    cut = _whole_characters(raw)
    cut.decode()
    assert raw.startswith(cut) and len(raw) - len(cut) < 4


@given(st.binary(max_size=300))
def test_what_is_no_text_loses_less_than_a_character(raw: bytes) -> None:
    assert raw.startswith(_whole_characters(raw)) and len(raw) - len(_whole_characters(raw)) < 4


@given(st.text(max_size=80))
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    try:
        assert str(parse_cursor(text)) == text
    except BrokerPlaneError as error:
        assert isinstance(error, WireError)


def test_a_page_says_where_it_stands() -> None:
    for part in ("rows 0-9/100", "bytes 5-5/6", "rows */0"):
        assert page_of(b"", "text/csv", part, "").part == part
    with pytest.raises(WireError, match="older"):
        page_of(b"", "text/html", "", "")
    cursor = Cursor("A" * 22, "ab", 5, 1, 2)
    assert parse_page_request({"cursor": str(cursor)}).cursor == cursor


async def test_a_delivery_that_its_reader_rejected_is_not_completed_by_a_page_that_failed() -> None:
    plane = Memory(ROWS)
    grant = await plane.mint(uses=1)
    opened = await plane.deliveries.open(grant)
    begun = parse_cursor((await page(plane, grant)).next)
    lease = Lease(opened.grant, begun.lease, begun.number, way="http:/page")
    assert await plane.deliveries.release(lease, final=True)
    with pytest.raises(SelectorError):  # no row of the body follows that place, so it sends nothing
        await page(plane, grant, str(replace(begun, done=0, frame=0, row=len(ROWS))), limit=1 << 20)
    with pytest.raises(LeaseLostError):
        await page(plane, grant, str(replace(begun, done=len(ROWS))))
    assert json.loads((await page(plane, grant, limit=1 << 20)).content) == ROWS
