"""Values through a real broker and bridge: what was published is what every view shows, by the documented mapping."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NewType, Optional, Union
from uuid import UUID

import anyio
import httpx2
import numpy
import pandas
import polars
import pyarrow
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as property_settings
from pydantic import Field

from broker_plane import Plane, PlaneServer
from broker_plane.config import Settings, load_settings
from broker_plane.errors import TabularError
from broker_plane.tabular.plain import plain
from broker_plane.tabular.types import unpack
from broker_plane.testing.server import NatsServer
from broker_plane.wire.nesting import MAX_DEPTH
from broker_plane.wire.plane_names import Names
from tests import forked
from tests.examples import examples
from tests.interaction.conftest import Agent, error_of, shape_of, text_of
from tests.unit.tabular.test_plain import SAME, TREES

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def plane(nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plane]:
    settings = load_settings(nats_url=nats_server.url, data_dir=tmp_path_factory.mktemp("plane"))
    async with Plane.connect(settings) as connected:
        yield connected


def mapped(value: Any) -> Any:
    """The JSON view of docs/bridge.md, written once more."""
    if isinstance(value, dict):
        return {str(mapped(name)): mapped(member) for name, member in value.items()}
    if isinstance(value, list):
        return [mapped(member) for member in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, timedelta):
        return duration(value)
    return str(value) if isinstance(value, (Decimal, UUID)) else value.isoformat()


def duration(value: timedelta) -> str:
    sign, left = ("-", -value) if value < timedelta(0) else ("", value)
    if not left:
        return "PT0S"
    seconds = (f"{left.seconds}.{left.microseconds:06d}".rstrip("0").rstrip(".") + "S") if left % timedelta(1) else ""
    return f"{sign}P{f'{left.days}D' if left.days else ''}{'T' + seconds if seconds else ''}"


def equal(one: Any, other: Any) -> bool:
    """Equal in value and type, NaN to NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)
    return repr(one) == repr(other)


async def check_views(plane: Plane, rows: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    published = await plane.publish(rows, uses="unlimited", abstract="all")
    url = published.resource_url
    for via in ("http", "nats"):
        assert equal(await plane.pull(url, via=via), expected)
    shown = [{name: mapped(value) for name, value in row.items()} for row in expected]
    abstract = [{name: mapped(plain(value)) for name, value in row.items()} for row in published.abstract]
    assert abstract == [{"_row_id": number, **row} for number, row in enumerate(shown)]
    async with httpx2.AsyncClient() as client:

        async def view(media_type: str) -> httpx2.Response:
            answer = await client.get(url, headers={"Accept": media_type})
            assert answer.status_code == 200, (media_type, answer.text)
            return answer

        assert json.loads((await view("application/json")).content) == shown
        lines = (await view("application/x-ndjson")).content.decode().split("\n")
        assert [json.loads(line) for line in lines if line] == shown
        assert equal(unpack((await view("application/msgpack")).content), expected)
        table = list(csv.reader(io.StringIO((await view("text/csv")).content.decode(), newline="")))
        assert table[0] == list(expected[0])
        if isinstance(value := shown[0]["v"], (dict, list)):
            assert json.loads(table[1][0]) == value


@property_settings(max_examples=examples(0.25), deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=TREES)
async def test_any_tree_is_in_every_view_what_the_mapping_says(plane: Plane, tree: Any) -> None:
    await check_views(plane, [{"v": tree}], [{"v": tree}])


async def test_values_of_other_types_are_in_every_view_the_plain_ones(plane: Plane) -> None:
    rows = [{"v": given_value, "name": name} for name, (given_value, _) in SAME.items()]
    await check_views(plane, rows, [{"v": expected, "name": name} for name, (_, expected) in SAME.items()])


async def test_a_feed_says_that_the_same_values_in_other_types_are_unchanged(plane: Plane) -> None:
    plain_rows = [{"id": number, "v": expected} for number, (_, expected) in enumerate(SAME.values())]
    rows = [{"id": numpy.int64(number), "v": given_value} for number, (given_value, _) in enumerate(SAME.values())]
    first = await plane.publish(rows, feed="values.same", key="id")
    for again in (plain_rows, rows, plain_rows):
        assert (await plane.publish(again, feed="values.same", key="id")).version == first.version
    changed = await plane.publish([{**rows[0], "v": "other"}, *rows[1:]], feed="values.same", key="id")
    assert changed.version == first.version + 1
    one_row = [{"id": numpy.int64(0), "v": numpy.str_("third")}]
    delta = await plane.publish(one_row, feed="values.same", key="id", kind="delta", removed=[numpy.int64(1)])
    found = await plane.pull(delta.resource_url)
    assert equal(found, [{"id": 0, "v": "third"}, *plain_rows[2:]])


class Stage(Enum):
    lead = "lead"


async def test_a_feed_of_a_table_and_of_its_rows_is_one(plane: Plane) -> None:
    frame = polars.DataFrame({"id": [1, 2], "kind": ["a", "b"], "at": [datetime(2026, 7, 1, tzinfo=UTC)] * 2})
    frame = frame.with_columns(
        polars.col("kind").cast(polars.Categorical), polars.col("at").dt.convert_time_zone("Europe/Berlin")
    )
    first = await plane.publish(frame, feed="values.table", key="id")
    assert (await plane.publish(frame.to_dicts(), feed="values.table", key="id")).version == first.version


@pytest.mark.parametrize("number", [2**53, 2**63, 2**64, 10**29 + 1, -(10**40)])
async def test_a_whole_number_of_any_size_in_every_view(plane: Plane, number: int) -> None:
    await check_views(plane, [{"v": number}, {"v": [number]}], [{"v": number}, {"v": [number]}])


@pytest.mark.parametrize("depth", [MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, 254, 255, 300, 499, 500, 1000, 5000])
@pytest.mark.parametrize("key", [None, "x"])
async def test_one_limit_of_nesting_at_publish_and_in_every_view(plane: Plane, depth: int, key: str | None) -> None:
    value: Any = 2**60
    for _ in range(depth):
        value = [value] if key is None else {key: value}
    if depth <= MAX_DEPTH:
        await check_views(plane, [{"v": value}], [{"v": value}])
    else:
        with pytest.raises(TabularError, match=f"Row 0, column 'v'.*{MAX_DEPTH} levels"):
            await plane.publish([{"v": value}])


async def test_a_row_of_a_live_stream_is_plain(plane: Plane) -> None:
    async with plane.streams.publish(buffer_size=4) as stream:
        await stream.send({"n": numpy.int64(1), "t": pandas.NaT, "s": Stage.lead, "big": 10**30})
        with pytest.raises(TabularError, match="Row 1, column 'x'"):
            await stream.send({"x": {1}})
        assert (await anext(plane.pulls.follow(stream.grant)))[1] == {
            "n": 1,
            "t": None,
            "s": "lead",
            "big": str(10**30),
        }


EMPTY: dict[str, Any] = {
    "polars": polars.DataFrame(schema={"event": polars.String, "severity": polars.Int64}),
    "pyarrow": pyarrow.schema([("event", pyarrow.string()), ("severity", pyarrow.int64())]).empty_table(),
    "pandas": pandas.DataFrame({"event": pandas.Series([], dtype="str"), "severity": pandas.Series([], dtype="int64")}),
    "filtered": polars.DataFrame({"event": ["a"], "severity": [1]}).filter(polars.col("severity") > 2),
    "categories": polars.DataFrame(
        {"event": [], "severity": []}, schema={"event": polars.Categorical, "severity": polars.Int8}
    ),
    "rows with columns": [],
}


@pytest.mark.parametrize("name", EMPTY)
async def test_a_table_without_rows_keeps_its_columns_in_every_view(plane: Plane, name: str) -> None:
    declared = ["event", "severity"] if name == "rows with columns" else None
    published = await plane.publish(EMPTY[name], uses="unlimited", columns=declared)
    assert published.body.columns == ("event", "severity")
    assert published.body.rows == 0
    for via in ("http", "nats"):
        ways: list[dict[str, Any]] = [{}, {"row_ids": []}, {"columns": ["event", "severity"]}]
        for asked in ways:
            table = await plane.pull_table(published.resource_url, via=via, **asked)
            assert table.column_names == ["event", "severity"] and table.num_rows == 0
            if name != "rows with columns":
                assert pyarrow.types.is_string(table.schema.field("event").type)
        assert await plane.pull(published.resource_url, via=via) == []
    async with httpx2.AsyncClient() as client:
        for media_type, content in (
            ("text/csv", b"event,severity\r\n"),
            ("application/json", b"[]"),
            ("application/x-ndjson", b""),
            ("application/msgpack", b"\x90"),
        ):
            answer = await client.get(published.resource_url, headers={"Accept": media_type})
            assert (answer.status_code, answer.content) == (200, content)
    narrowed = plane.narrow(published.resource_url, columns=["severity"])
    assert (await plane.pull_table(narrowed.resource_url)).column_names == ["severity"]


@pytest.mark.parametrize("table", [polars.DataFrame({"a": [1, 2], "b": ["x", "y"]}), [{"a": 1, "b": "x"}]])
async def test_no_rows_of_a_table_have_its_columns(plane: Plane, table: Any) -> None:
    published = await plane.publish(table, uses="unlimited")
    for via in ("http", "nats"):
        assert (await plane.pull_table(published.resource_url, row_ids=[], via=via)).column_names == ["a", "b"]
        assert await plane.pull(published.resource_url, row_ids=[], via=via) == []
    nothing = plane.narrow(published.resource_url, where="a > 100")
    assert (await plane.pull_table(nothing.resource_url)).column_names == ["a", "b"]


Rows = NewType("Rows", list)  # type: ignore[type-arg]
Url = Field(description="the rows")
FORMS: dict[str, tuple[Any, type]] = {
    "Annotated[DataFrame]": (Annotated[polars.DataFrame, Url], polars.DataFrame),
    "Optional[DataFrame]": (Optional[polars.DataFrame], polars.DataFrame),  # noqa: UP045
    "DataFrame | None": (polars.DataFrame | None, polars.DataFrame),
    "Annotated[DataFrame | None]": (Annotated[polars.DataFrame | None, Url], polars.DataFrame),
    "Optional[Annotated]": (Optional[Annotated[pandas.DataFrame, Url]], pandas.DataFrame),  # noqa: UP045
    "Annotated in Annotated": (Annotated[Annotated[pyarrow.Table, "x"], Url], pyarrow.Table),
    "Union with list": (Union[polars.DataFrame, list], polars.DataFrame),  # noqa: UP007
    "LazyFrame": (polars.LazyFrame, polars.LazyFrame),
    "Annotated[list]": (Annotated[list[dict[str, Any]], Url], list),
    "list | None": (list[dict[str, Any]] | None, list),
    "Iterator": (Iterator[dict[str, Any]], Iterator),
    "Annotated[Iterator]": (Annotated[Iterator[dict[str, Any]], Url], Iterator),
    "Annotated[AsyncIterator]": (Annotated[AsyncIterator[dict[str, Any]], Url], AsyncIterator),
    "tuple": (tuple[dict[str, Any], ...], tuple),
    "NewType": (Rows, list),
    "no annotation": (Any, list),
    "Annotated[Path]": (Annotated[Path, Url], Path),
    "Path | None": (Path | None, Path),
}


@pytest.mark.parametrize("name", FORMS)
async def test_a_consumer_gets_the_form_of_its_annotation(agent: Agent, server: PlaneServer, name: str) -> None:
    annotation, kind = FORMS[name]
    calls: list[Any] = []

    @server.resource_tool()
    def table() -> list[dict[str, Any]]:
        return [{"event": "Flood", "n": 1}]

    async def take(body: Any) -> str:
        calls.append(body)
        return "taken"

    take.__annotations__ = {"body": annotation, "return": str}
    server.consumer_tool()(take)
    url = shape_of(await agent("table", abstract_domains="event"))["resource_url"]
    assert text_of(await agent("take", resource_url=url)) == "taken"
    assert isinstance(calls[0], kind)


@pytest.mark.parametrize("annotation", [Annotated[bytes, Url], bytes | None, Optional[Annotated[bytes, Url]]])  # noqa: UP045
async def test_a_consumer_of_bytes_gets_bytes(agent: Agent, server: PlaneServer, annotation: Any) -> None:
    @server.resource_tool()
    def picture() -> bytes:
        return b"\x89PNG"

    async def take(body: Any) -> str:
        return type(body).__name__ + str(len(body))

    take.__annotations__ = {"body": annotation, "return": str}
    server.consumer_tool()(take)
    url = json.loads(text_of(await agent("picture")))["resource_url"]
    assert text_of(await agent("take", resource_url=url)) == "bytes4"


@pytest.mark.parametrize("name", [name for name in EMPTY if name != "rows with columns"])
@pytest.mark.parametrize("chosen", ["", "[]"])
async def test_an_author_finds_the_columns_of_a_table_without_rows(
    agent: Agent, server: PlaneServer, name: str, chosen: str
) -> None:
    @server.resource_tool()
    def alerts() -> Any:
        return EMPTY[name]

    @server.consumer_tool()
    async def severe(table: Annotated[polars.DataFrame, Url]) -> str:
        found = table.filter((polars.col("severity") > 2) & polars.col("event").str.contains("x"))
        return f"{found.height} of {','.join(found.columns)}"

    shape = shape_of(await agent("alerts", abstract_domains="event"))
    assert (shape["columns"], shape["body_domains"], shape["total_rows"]) == (["event", "severity"], ["severity"], 0)
    mapping = '{"event": "event"}' if chosen else ""
    handed = {"abstract_data": chosen, "resource_url": shape["resource_url"], "column_mapping": mapping}
    assert text_of(await agent("severe", **handed)) == "0 of event,severity"
    in_sync = shape_of(await agent("alerts", abstract_domains="event", mode="sync"))
    assert in_sync["columns"] == ["event", "severity"]


async def test_none_chosen_of_a_table_keeps_its_columns_and_uses_nothing_up(agent: Agent, server: PlaneServer) -> None:
    @server.resource_tool()
    def alerts() -> Any:
        return polars.DataFrame({"event": ["a"], "severity": [3]})

    @server.consumer_tool()
    async def severe(table: polars.DataFrame) -> str:
        return f"{table.filter(polars.col('severity') > 2).height} of {','.join(table.columns)}"

    url = shape_of(await agent("alerts", abstract_domains="event"))["resource_url"]
    assert text_of(await agent("severe", abstract_data="[]", resource_url=url)) == "0 of event,severity"
    assert text_of(await agent("severe", abstract_data="[]", resource_url=url)) == "0 of event,severity"
    assert text_of(await agent("severe", resource_url=url)) == "1 of event,severity"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({1}, "Row 1, column 'x'.*set"),
        (numpy.datetime64("2026-01-01T00:00:00.000000001"), "Row 1, column 'x'.*datetime64"),
        (pandas.Timestamp("2026-01-01T00:00:00.000000001"), "Row 1, column 'x'.*Timestamp"),
        (1j, "Row 1, column 'x'.*complex"),
    ],
)
async def test_a_tool_says_what_cannot_be_published(agent: Agent, server: PlaneServer, value: Any, said: str) -> None:
    @server.resource_tool()
    def odd() -> list[dict[str, Any]]:
        return [{"id": 0, "x": 1}, {"id": 1, "x": value}]

    found = error_of(await agent("odd", abstract_domains="id"))
    assert re.search(said, found), found


async def test_a_tool_shows_the_plain_values_inline_and_published(agent: Agent, server: PlaneServer) -> None:
    @server.resource_tool()
    def odd() -> list[dict[str, Any]]:
        return [
            {
                "id": numpy.int64(1),
                "at": numpy.datetime64("2026-01-02T03:04:05.000006000"),
                "none": pandas.NaT,
                "stage": Stage.lead,
                "list": numpy.array([1, 2]),
                "time": time(1, 2),
                "day": date(2026, 1, 2),
            }
        ]

    row = {
        "id": 1,
        "at": "2026-01-02T03:04:05.000006",
        "none": None,
        "stage": "lead",
        "list": [1, 2],
        "time": "01:02:00",
        "day": "2026-01-02",
    }
    assert json.loads(text_of(await agent("odd"))) == [row]
    for mode in ("async", "sync"):
        shape = shape_of(await agent("odd", abstract_domains=",".join(row), mode=mode))
        assert shape["abstract"] == [{"_row_id": 0, **row}]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'[{"v": 123456789012345678901234567890}]', 123456789012345678901234567890),
        (b'[{"v": [-18446744073709551617, 1]}]', [-18446744073709551617, 1]),
        (b'[{"v": NaN}]', math.nan),
        (b'[{"v": {"a": -Infinity}}]', {"a": -math.inf}),
        (b'[{"v": "cut \\ud83d"}]', "cut \ud83d"),
        (b'[{"v": 9007199254740993}]', 9007199254740993),
    ],
)
async def test_a_file_of_json_is_published_exactly(
    plane: Plane, settings: Settings, tmp_path: Path, text: bytes, expected: Any
) -> None:
    for name, content in (("a.json", text), ("a.ndjson", text[1:-1])):
        file = tmp_path / name
        file.write_bytes(content)
        env = {"BROKER_PLANE_NATS_URL": settings.nats_url, "PATH": "", "BROKER_PLANE_DATA_DIR": str(tmp_path)}
        words = ("publish", file, "--json")
        done = await anyio.to_thread.run_sync(partial(forked.run, "broker_plane.cli.main", *words, env=env))
        url = json.loads(done.stdout)["resource_url"]
        assert equal(await plane.pull(Names().pull_subject(url.rpartition("/")[2])), [{"v": expected}])
