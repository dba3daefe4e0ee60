"""Tables in and out: polars, pyarrow and pandas, as resource tools return them and consumer tools ask for them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pandas
import polars
import pyarrow
import pytest
from mcp import Client

from broker_plane import Plane, PlaneServer
from broker_plane.config import Settings
from broker_plane.errors import ConfigError, EncodingError, TabularError
from broker_plane.tabular.arrow import decode, encode

pytestmark = pytest.mark.anyio
ROWS = [
    {
        "id": number,
        "name": f"náme {number}",
        "few": "ab"[number % 2],
        "price": Decimal(f"{number}.50"),
        "when": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=number),
        "day": date(2026, 1, 1 + number % 28),
        "maybe": None if number % 3 else number / 2,
        "list": [number, number + 1],
    }
    for number in range(3000)
]


def polars_table() -> polars.DataFrame:
    return polars.DataFrame(ROWS)


def pyarrow_table() -> pyarrow.Table:
    return pyarrow.Table.from_pylist(ROWS)


def pandas_table() -> pandas.DataFrame:
    return pyarrow_table().to_pandas(types_mapper=pandas.ArrowDtype)


@pytest.fixture
async def plane(settings: Settings) -> AsyncIterator[Plane]:
    async with Plane.connect(settings) as connected:
        yield connected


@pytest.mark.parametrize("make", [polars_table, pyarrow_table, pandas_table])
@pytest.mark.parametrize("via", ["nats", "http"])
async def test_a_table_arrives_as_rows_and_as_a_table(plane: Plane, make: Any, via: Any) -> None:
    published = await plane.publish(make(), abstract=["id", "few"], uses="unlimited")
    assert published.abstract[2] == {"_row_id": 2, "id": 2, "few": "a"}
    assert await plane.pull(published.resource_url, via=via) == ROWS
    assert (await plane.pull_table(published.resource_url, via=via)).to_pylist() == ROWS


@pytest.mark.parametrize("make", [polars_table, lambda: ROWS])
async def test_some_rows_and_columns_of_a_body_are_a_table_in_the_order_asked_for(plane: Plane, make: Any) -> None:
    published = await plane.publish(make(), uses="unlimited")
    asked: dict[str, Any] = {"columns": ["name", "maybe"], "row_ids": [2999, 0, 7]}
    table = await plane.pull_table(published.resource_url, **asked)
    assert table.to_pylist() == [{"name": ROWS[i]["name"], "maybe": ROWS[i]["maybe"]} for i in (2999, 0, 7)]
    assert await plane.pull(published.resource_url, **asked) == table.to_pylist()


async def test_a_narrowed_grant_shows_of_a_table_what_it_shows_of_rows(plane: Plane) -> None:
    published = await plane.publish(polars_table(), uses="unlimited")
    narrowed = plane.narrow(published.resource_url, columns=["id", "few"], where="few = 'b' and id < 10")
    assert (await plane.pull_table(narrowed.resource_url)).to_pylist() == [
        {"id": number, "few": "b"} for number in (1, 3, 5, 7, 9)
    ]


async def test_rows_that_are_no_table_are_an_error_that_says_so(plane: Plane) -> None:
    published = await plane.publish([{"a": 1}, {"a": "text"}], uses="unlimited")
    with pytest.raises(TabularError, match="'a'"):
        await plane.pull_table(published.resource_url)
    opaque = await plane.publish(b"bytes", uses="unlimited")
    with pytest.raises(Exception, match="opaque"):
        await plane.pull_table(opaque.resource_url)


async def test_what_a_table_cannot_say_in_our_types_is_refused(plane: Plane) -> None:
    nanoseconds = pyarrow.table({"t": pyarrow.array([1], pyarrow.timestamp("ns"))})
    with pytest.raises(TabularError, match="microseconds"):
        await plane.publish(nanoseconds)
    with pytest.raises(TabularError, match="_row_id"):
        await plane.publish(polars.DataFrame({"_row_id": [1]}))
    with pytest.raises(TabularError, match="two columns"):
        await plane.publish(pyarrow.table([[1], [2]], names=["a", "a"]))


def test_a_chunk_whose_offsets_lead_out_of_its_buffer_is_refused() -> None:
    chunk = bytearray(encode(pyarrow.array(["abc", "defg"])))
    place = chunk.index(bytes([3, 0, 0, 0, 7, 0, 0, 0]))
    chunk[place + 4 : place + 8] = (1 << 30).to_bytes(4, "little")
    with pytest.raises(EncodingError):
        decode(bytes(chunk))
    with pytest.raises(EncodingError):
        decode(bytes(chunk[:40]))


def make_server(settings: Settings) -> PlaneServer:
    server = PlaneServer("tables", settings=settings)

    @server.resource_tool(uses="unlimited")
    def get(rows: int) -> polars.DataFrame:
        return polars.DataFrame(ROWS[:rows])

    @server.consumer_tool()
    def in_polars(frame: polars.DataFrame) -> str:
        return f"{type(frame).__module__.partition('.')[0]} {frame.height} {frame.columns[0]} {frame['id'].sum()}"

    @server.consumer_tool()
    def in_pyarrow(table: pyarrow.Table) -> str:
        return f"{table.num_rows} {table.column_names[0]}"

    @server.consumer_tool()
    def in_pandas(frame: pandas.DataFrame) -> str:
        return f"{len(frame)} {frame.columns[0]}"

    return server


async def test_tools_return_and_take_tables(settings: Settings) -> None:
    async with Client(make_server(settings).mcp) as client:

        async def text(tool: str, **arguments: Any) -> str:
            result: Any = await client.call_tool(tool, arguments)
            return str(result.content[0].text)

        got = json.loads(await text("get", rows=3000, abstract_domains="id,name"))
        url, chosen = got["resource_url"], json.dumps([got["abstract"][place] for place in (5, 1)])
        assert await text("in_polars", resource_url=url) == f"polars 3000 id {sum(range(3000))}"
        assert await text("in_polars", resource_url=url, abstract_data=chosen) == "polars 2 id 6"
        mapping = json.dumps({"id": "number"})
        assert await text("in_pyarrow", resource_url=url, abstract_data=chosen, column_mapping=mapping) == "2 number"
        assert await text("in_pandas", resource_url=url) == "3000 id"
        altered = chosen.replace("me 5", "me 6")
        assert "unchanged" in await text("in_polars", resource_url=url, abstract_data=altered)
        plain = json.loads(await text("get", rows=2))
        assert [row["name"] for row in plain] == ["náme 0", "náme 1"]
        inline = json.loads(await text("get", rows=2, abstract_domains="id", mode="sync"))
        body, abstract = json.dumps(inline["body"]), json.dumps(inline["abstract"])
        assert await text("in_pandas", body_data=body, abstract_data=abstract) == "2 name"


def test_an_agent_may_not_change_the_values_of_a_table() -> None:
    server = PlaneServer("tables")
    with pytest.raises(ConfigError, match="trust"):

        @server.consumer_tool(trust="agent")
        def take(frame: polars.DataFrame) -> str:
            return ""
