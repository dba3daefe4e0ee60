"""`where` between a column and a literal of another type is an error on every way, and never an empty answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest

from broker_plane import Plane
from broker_plane.config import Settings
from broker_plane.errors import BrokerPlaneError, SelectorError
from tests.files.command_line import CommandLine

pytestmark = pytest.mark.anyio

ROW: dict[str, Any] = {
    "text": "3",
    "int": 3,
    "float": 1.5,
    "decimal": Decimal("1.5"),
    "bool": True,
    "date": date(2026, 1, 2),
    "naive": datetime(2026, 1, 2, 3),
    "aware": datetime(2026, 1, 2, 3, tzinfo=UTC),
    "time": time(1, 2),
    "span": timedelta(1),
    "uuid": UUID(int=7),
    "bytes": b"x",
    "list": [1],
    "map": {"a": 1},
    "null": None,
}
ROWS = [ROW, {**ROW, "text": "x", "mixed": 1}, {**dict.fromkeys(ROW), "mixed": "1"}]
UNLIKE = [
    ("text > 2", ("'text'", "text", "2", "a number")),
    ("text = 3", ("'text'", "Write '3'")),
    ("text = true", ("'text'", "true")),
    ("int = '3'", ("'int'", "numbers", "'3'", "text")),
    ("int in ('3', '4')", ("'int'", "'3'")),
    ("int in (3, 'x')", ("'int'", "'x'")),
    ("int = true", ("'int'", "true or false")),
    ("float < '2'", ("'float'", "'2'")),
    ("decimal = '1.5'", ("'decimal'", "'1.5'")),
    ("bool = 1", ("'bool'", "true and false", "1")),
    ("bool != 'true'", ("'bool'", "'true'")),
    ("date = 'yesterday'", ("'date'", "dates", "ISO 8601")),
    ("date > 20260101", ("'date'", "20260101")),
    ("naive > '2026-01-02T00:00:00+00:00'", ("'naive'", "offset")),
    ("aware = 'soon'", ("'aware'", "dates with time")),
    ("time < 12", ("'time'", "times")),
    ("span > 1", ("'span'", "durations")),
    ("uuid = 'x'", ("'uuid'", "UUIDs")),
    ("bytes = 'x'", ("'bytes'",)),
    ("list = 1", ("'list'", "lists")),
    ("map = 'a'", ("'map'", "maps")),
    ("mixed = true", ("'mixed'", "numbers")),
    ("int = 3 or text = 3", ("'text'",)),
    ("int = 3 and not text != 3", ("'text'",)),
    ("not (int > 5 and uuid = 7)", ("'uuid'",)),
]
LIKE = [
    ("text = '3'", 1),
    ("int = 3", 2),
    ("int = 3.0 and float < 2", 2),
    ("decimal = 1.5", 2),
    ("bool = true", 2),
    ("bool != false and date = '2026-01-02'", 2),
    ("naive < '2026-01-03'", 2),
    ("aware < '2026-01-03' and aware >= '2026-01-02T00:00:00+02:00'", 2),
    ("time = '01:02'", 2),
    ("uuid = '00000000-0000-0000-0000-000000000007'", 2),
    ("mixed = 1", 1),
    ("mixed = '1'", 1),
    ("mixed in (1, '1')", 2),
    ("not mixed = 1", 2),
    ('"null" = 1', 0),
    ("\"null\" = 'x' or int is null", 1),
    ("not int = 3", 1),
]


@pytest.fixture
async def plane(settings: Settings) -> AsyncIterator[Plane]:
    async with Plane.connect(settings) as connected:
        yield connected


async def test_a_comparison_that_no_value_can_match_is_an_error_on_every_way(plane: Plane) -> None:
    url = (await plane.publish(ROWS, uses="unlimited")).resource_url
    async with httpx2.AsyncClient(trust_env=False) as client:
        for where, says in UNLIKE:
            less = plane.narrow(url, where=where)
            further = plane.narrow(less.resource_url, columns=["int"], first=1)
            found: list[str] = []
            for way in (
                lambda grant=less: plane.pull(grant.resource_url, via="http"),
                lambda grant=less: plane.pull(grant.subject, via="nats"),
                lambda grant=further: plane.pull(grant.resource_url),
                lambda where=where: plane.preview(url, where=where),
                lambda where=where: plane.preview(plane.narrow(url, rows="0-1").resource_url, where=where),
            ):
                with pytest.raises(SelectorError) as refused:
                    await way()
                found.append(str(refused.value))
            answer = await client.get(less.resource_url)
            assert (answer.status_code, answer.json()["code"]) == (400, "bad_selector")
            for said in [*found, answer.json()["detail"]]:
                assert "no row can match" in said
                assert all(word in said for word in says), (where, said)


async def test_like_is_compared_with_like(plane: Plane) -> None:
    url = (await plane.publish(ROWS, uses="unlimited")).resource_url
    for where, count in LIKE:
        rows = await plane.pull(plane.narrow(url, where=where).resource_url)
        assert len(rows) == count, where


async def test_a_later_group_of_rows_decides_as_well(plane: Plane) -> None:
    rows = [{"n": "x", "m": row} for row in range(40_000)] + [{"n": 7, "m": -1}]
    url = (await plane.publish(rows, uses="unlimited")).resource_url
    assert await plane.pull(plane.narrow(url, where="n = 7").resource_url) == rows[-1:]
    assert len(await plane.pull(plane.narrow(url, where="n = 7 or m < 5", first=3).resource_url)) == 3
    with pytest.raises(SelectorError, match="no row can match"):
        await plane.pull(plane.narrow(url, where="n = true or m < 5", first=3).resource_url)


async def test_what_a_grant_hides_does_not_decide(plane: Plane) -> None:
    url = (await plane.publish([{"n": 1}, {"n": "x"}, {"n": "y"}], uses="unlimited")).resource_url
    for shown, where in (("0", "n = 'x'"), ("1-2", "n = 1")):
        with pytest.raises(SelectorError, match="no row can match"):
            await plane.pull(plane.narrow(plane.narrow(url, rows=shown).resource_url, where=where).resource_url)
    first = plane.narrow(url, where="n = 1")
    with pytest.raises(SelectorError, match="which holds numbers, with 'x'"):
        await plane.pull(plane.narrow(first.resource_url, where="n = 'x'").resource_url)


async def test_no_rows_and_no_values_are_no_error(plane: Plane) -> None:
    for rows in ([{"n": None}], [{"n": None}, {"m": 1}]):
        url = (await plane.publish(rows, uses="unlimited")).resource_url
        assert await plane.pull(plane.narrow(url, where="n = 'x'").resource_url) == []
    url = (await plane.publish([{"n": 1}], uses="unlimited")).resource_url
    none_left = plane.narrow(url, where="n = 2").resource_url
    assert await plane.pull(plane.narrow(none_left, where="n = 'x'").resource_url) == []


async def test_the_error_costs_no_use_and_no_second_pass(plane: Plane) -> None:
    published = await plane.publish([{"n": 1}])
    wrong = plane.narrow(published.resource_url, where="n = 'x'").resource_url
    for _ in range(20):
        with pytest.raises(SelectorError, match="no row can match"):
            await plane.pull(wrong)
    assert await plane.pull(published.resource_url) == [{"n": 1}]


async def test_the_grant_of_a_known_body_names_its_columns(plane: Plane) -> None:
    from broker_plane import Narrowing

    published = await plane.publish([{"event": "x", "severity": 1}], uses="unlimited")
    opaque = await plane.publish(b"x", uses="unlimited")
    shown = plane.narrow(published.resource_url, columns=["event"]).resource_url
    for less in (Narrowing(columns=["evnt"]), Narrowing(where="sev > 2"), Narrowing(columns=["event", "Severity"])):
        with pytest.raises(SelectorError, match="There is no column"):
            await plane.grants.mint(published.body.id, less)
        with pytest.raises(SelectorError, match="There is no column"):
            await plane.grants.narrow_checked(published.resource_url, less)
    for less in (Narrowing(columns=["severity"]), Narrowing(where="severity > 2")):
        with pytest.raises(SelectorError, match="there are: event"):
            await plane.grants.narrow_checked(shown, less)
    with pytest.raises(BrokerPlaneError, match="opaque"):
        await plane.grants.narrow_checked(opaque.resource_url, Narrowing(columns=["a"]))
    assert await plane.pull((await plane.grants.narrow_checked(shown, Narrowing(columns=[" event "]))).resource_url)


def test_the_command_line_says_so(shell: CommandLine, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("event,severity\nFlood,3\nWind,1\n")
    texts, url = shell.publish(table, "--text"), shell.publish(table)
    wrong = json.loads(shell.run("grant", texts, "--where", "severity > 2", "--json"))["resource_url"]
    for via in ("http", "nats"):
        said = shell.refused("pull", wrong, "--via", via)
        assert "'severity', which holds text, with 2, which is a number" in said
    body = json.loads(shell.run("publish", table, "--json"))["body_id"]
    for grant in (url, body):
        assert "no column 'evnt' here; there are: event, severity" in shell.refused("grant", grant, "--columns", "evnt")
        assert "no column 'sev' here" in shell.refused("grant", grant, "--where", "sev > 2")
