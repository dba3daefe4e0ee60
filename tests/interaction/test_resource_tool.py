"""Resource tools: what the model gets, in each shape."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.server.mcpserver import Context
from pydantic import BaseModel

from broker_plane import Plane, PlaneServer
from broker_plane.errors import ConfigError
from broker_plane.wire.names import BodyId
from tests.interaction.conftest import Agent, error_of, shape_of, text_of
from tests.interaction.tables import typed, wide

pytestmark = pytest.mark.anyio


async def test_without_domains_the_result_is_the_plain_array(server: PlaneServer, agent: Agent) -> None:
    @server.resource_tool()
    def table() -> list[dict[str, Any]]:
        return wide(3)

    result = await agent("table")
    assert json.loads(text_of(result)) == wide(3)
    assert result.structured_content == {"result": wide(3)}
    assert len(result.content) == 1


async def test_async_mode_gives_the_abstract_and_a_url(server: PlaneServer, agent: Agent) -> None:
    @server.resource_tool()
    async def table() -> list[dict[str, Any]]:
        return wide(3)

    result = await agent("table", abstract_domains="c1, c0")
    shape = shape_of(result)
    assert shape["total_rows"] == 3
    assert shape["columns"] == [f"c{column}" for column in range(29)]
    assert shape["abstract_domains"] == ["c1", "c0"]
    assert shape["body_domains"] == [f"c{column}" for column in range(2, 29)]
    assert shape["abstract"] == [{"_row_id": n, "c1": f"value {n} of 1", "c0": f"value {n} of 0"} for n in range(3)]
    assert "body" not in shape
    assert result.structured_content == shape
    plane = await server.plane()
    assert await plane.pull(shape["resource_url"]) == wide(3)


async def test_the_offer_travels_once_in_meta(server: PlaneServer, agent: Agent) -> None:
    @server.resource_tool()
    def table() -> list[dict[str, Any]]:
        return wide(3)

    result = await agent("table", abstract_domains="c0")
    link = result.content[1]
    assert link.type == "resource_link"
    assert result.meta is not None and link.meta is None
    offer = result.meta["io.broker-plane/transfer"]
    assert (offer["protocol"], offer["format"], offer["rows"]) == ("http", "application/json", 3)
    assert "alternatives" not in offer  # this client declares nothing
    plane = await server.plane()
    assert link.size == (await plane.grants.describe(str(link.uri).rpartition("/")[2])).body.size
    assert await plane.pull(offer["endpoint"]) == wide(3)


async def stored(plane: Plane) -> set[BodyId]:
    """Every body; those of tests before this one end meanwhile."""
    return {body.id for body in await plane.bodies.list()}


async def test_sync_mode_gives_the_body_inline_and_stores_nothing(server: PlaneServer, agent: Agent) -> None:
    @server.resource_tool()
    def table() -> list[dict[str, Any]]:
        return [{"a": 1, "b": 2}, {"a": 3, "b": 4}]

    plane = await server.plane()
    before = await stored(plane)
    shape = shape_of(await agent("table", abstract_domains="a", mode="sync"))
    assert shape["abstract"] == [{"_row_id": 0, "a": 1}, {"_row_id": 1, "a": 3}]
    assert shape["body"] == [{"_row_id": 0, "b": 2}, {"_row_id": 1, "b": 4}]
    assert "resource_url" not in shape
    assert await stored(plane) <= before


class Model(BaseModel):
    a: int


@dataclass
class Record:
    a: int


def plain() -> list[dict[str, int]]:
    return [{"a": 1}, {"a": 2}]


async def coroutine() -> list[dict[str, int]]:
    return [{"a": 1}, {"a": 2}]


def generator() -> Iterator[dict[str, int]]:
    yield {"a": 1}
    yield {"a": 2}


async def async_generator() -> AsyncIterator[dict[str, int]]:
    yield {"a": 1}
    yield {"a": 2}


def models() -> list[Model]:
    return [Model(a=1), Model(a=2)]


def records() -> list[Record]:
    return [Record(1), Record(2)]


def maps() -> Any:
    return ({"a": n} for n in (1, 2))


FUNCTIONS = [plain, coroutine, generator, async_generator, models, records, maps]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
async def test_any_kind_of_function_is_a_resource_tool(server: PlaneServer, agent: Agent, function: Any) -> None:
    server.resource_tool("table")(function)
    assert json.loads(text_of(await agent("table"))) == [{"a": 1}, {"a": 2}]
    shape = shape_of(await agent("table", abstract_domains="a"))
    assert shape["abstract"] == [{"_row_id": 0, "a": 1}, {"_row_id": 1, "a": 2}]
    assert await (await server.plane()).pull(shape["resource_url"]) == [{"a": 1}, {"a": 2}]


async def test_scalars_are_a_column(server: PlaneServer, agent: Agent) -> None:
    @server.resource_tool()
    def names() -> list[str]:
        return ["x", "y"]

    shape = shape_of(await agent("names", abstract_domains="value"))
    assert shape["abstract"] == [{"_row_id": 0, "value": "x"}, {"_row_id": 1, "value": "y"}]


async def test_opaque_results_are_published_as_they_are(server: PlaneServer, agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "report.bin").write_bytes(b"from a file")

    @server.resource_tool()
    def raw() -> bytes:
        return b"\x00raw"

    @server.resource_tool()
    def file() -> Path:
        return tmp_path / "report.bin"

    plane = await server.plane()
    assert await plane.pull(shape_of(await agent("raw"))["resource_url"]) == b"\x00raw"
    shape = shape_of(await agent("file"))
    assert (shape["name"], shape["size"]) == ("report.bin", 11)
    assert await plane.pull(shape["resource_url"]) == b"from a file"
    assert "opaque" in error_of(await agent("raw", mode="sync"))


async def test_above_the_limit_the_abstract_is_truncated_and_summarized(server: PlaneServer, agent: Agent) -> None:
    @server.resource_tool(abstract_limit=5)
    def table() -> Iterator[dict[str, Any]]:
        yield from ({"n": n, "even": n % 2 == 0, "rest": "x"} for n in range(2_000))

    shape = shape_of(await agent("table", abstract_domains="n,even"))
    assert [row["n"] for row in shape["abstract"]] == [0, 1, 2, 3, 4]
    assert shape["abstract_truncated"] is True
    assert shape["total_rows"] == 2_000
    summary = shape["summary"]
    assert set(summary) == {"n", "even"}
    assert (summary["n"]["min"], summary["n"]["max"], summary["n"]["distinct"]) == (0, 1_999, 2_000)
    assert (summary["even"]["type"], summary["even"]["nulls"]) == ("bool", 0)


async def test_abstract_limit_zero_shows_every_row(server: PlaneServer, agent: Agent) -> None:
    @server.resource_tool(abstract_limit="all")
    def table() -> list[dict[str, Any]]:
        return [{"n": n, "m": n} for n in range(2_000)]

    shape = shape_of(await agent("table", abstract_domains="n"))
    assert len(shape["abstract"]) == 2_000
    assert "abstract_truncated" not in shape


@pytest.mark.parametrize("arguments", [{}, {"abstract_domains": "a", "mode": "sync"}])
@pytest.mark.parametrize("kind", [list, iter])
async def test_a_large_inline_result_takes_the_async_shape(
    server: PlaneServer, agent: Agent, arguments: dict[str, str], kind: Any
) -> None:
    @server.resource_tool()
    def table() -> Any:
        return kind([{"a": n, "text": "x" * 1000} for n in range(1_000)])

    result = await agent("table", **arguments)
    shape = shape_of(result)
    assert shape["abstract"] == []
    assert shape["abstract_truncated"] is True
    assert shape["summary"]["a"]["max"] == 999
    assert len(text_of(result)) < 10_000
    assert len(await (await server.plane()).pull(shape["resource_url"])) == 1_000


async def test_types_that_json_lacks_have_one_view(server: PlaneServer, agent: Agent) -> None:
    server.resource_tool("table")(typed)
    (first, second) = json.loads(text_of(await agent("table")))
    assert first == {
        "when": "2026-01-02T03:04:05+00:00",
        "cost": "1.10",
        "raw": "AP8=",
        "nan": None,
        "id": "00000000-0000-0000-0000-000000000007",
        "big": str(2**70),
    }
    assert second == {"when": None, "nested": {"list": [1, None]}}
    shape = shape_of(await agent("table", abstract_domains="cost,when"))
    assert shape["abstract"][0] == {"_row_id": 0, "cost": "1.10", "when": "2026-01-02T03:04:05+00:00"}
    assert repr(await (await server.plane()).pull(shape["resource_url"])) == repr(typed())


async def test_the_authors_context_still_works_and_is_no_parameter(server: PlaneServer, agent: Agent) -> None:
    seen = []

    @server.resource_tool()
    async def table(area: str, ctx: Context) -> list[dict[str, Any]]:
        seen.append(ctx.request_id)
        return [{"area": area}]

    assert json.loads(text_of(await agent("table", area="CA"))) == [{"area": "CA"}]
    assert seen
    (tool,) = await server.mcp.list_tools()
    assert list(tool.input_schema["properties"]) == ["area", "abstract_domains", "mode", "uses"]
    assert tool.input_schema["required"] == ["area"]


async def test_the_description_teaches_to_name_few_columns(server: PlaneServer) -> None:
    @server.resource_tool()
    def table() -> list[dict[str, Any]]:
        """All of it."""
        return []

    (tool,) = await server.mcp.list_tools()
    assert tool.description is not None
    assert tool.description.startswith("All of it.")
    assert "the few columns" in tool.description
    assert tool.output_schema is not None
    assert "resource_url" in tool.output_schema["anyOf"][1]["properties"]


async def test_progress_is_told_while_a_table_is_published(server: PlaneServer) -> None:
    @server.resource_tool()
    def table() -> Iterator[dict[str, Any]]:
        yield from ({"n": n, "text": "x" * 200} for n in range(30_000))

    told: list[float] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)

    async with Client(server.mcp) as client:
        await client.call_tool("table", {"abstract_domains": "n"}, progress_callback=tell)
    assert told[-1] == 30_000
    assert told == sorted(told)


async def test_a_body_is_readable_as_a_resource_up_to_the_limit(server: PlaneServer) -> None:
    @server.resource_tool()
    def small() -> list[dict[str, Any]]:
        return [{"a": 1}]

    @server.resource_tool()
    def large() -> bytes:
        return bytes(600_000)

    async with Client(server.mcp) as client:
        result = await client.call_tool("small", {"abstract_domains": "a"})
        link = result.content[1]
        assert link.type == "resource_link"
        read = await client.read_resource(link.uri)
        assert json.loads(getattr(read.contents[0], "text")) == [{"a": 1}]  # noqa: B009  # text or blob
        link = (await client.call_tool("large", {})).content[1]
        assert link.type == "resource_link"
        with pytest.raises(Exception, match="600000 bytes"):
            await client.read_resource(link.uri)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"abstract_domains": "a,nothing"}, "names 'nothing'; the columns are: a, b"),
        ({"abstract_domains": '["a"'}, "no"),
        ({"abstract_domains": "a,a"}, "twice"),
        ({"abstract_domains": "a", "mode": "SYNC"}, "'async' or 'sync'"),
    ],
)
async def test_bad_arguments_are_named_and_nothing_is_stored(
    server: PlaneServer, agent: Agent, arguments: dict[str, str], said: str
) -> None:
    @server.resource_tool()
    def table() -> list[dict[str, int]]:
        return [{"a": 1, "b": 2}]

    plane = await server.plane()
    before = await stored(plane)
    assert said in error_of(await agent("table", **arguments))
    assert await stored(plane) <= before


async def test_unknown_domains_of_an_empty_table_are_no_error(server: PlaneServer, agent: Agent) -> None:
    @server.resource_tool()
    def table() -> list[dict[str, int]]:
        return []

    shape = shape_of(await agent("table", abstract_domains="event"))
    assert (shape["total_rows"], shape["abstract"]) == (0, [])


async def test_a_source_that_breaks_midway_is_an_error_and_stores_nothing(server: PlaneServer, agent: Agent) -> None:
    @server.resource_tool()
    def table() -> Iterator[dict[str, int]]:
        yield from ({"a": n} for n in range(5_000))
        raise RuntimeError("the database went away")

    plane = await server.plane()
    before = await stored(plane)
    assert (await agent("table", abstract_domains="a")).is_error
    assert await stored(plane) <= before


async def test_a_function_whose_parameters_cannot_be_told_is_refused_at_once(server: PlaneServer) -> None:
    with pytest.raises(ConfigError, match="name its parameters"):

        @server.resource_tool()
        def table(*args: str) -> list[dict[str, int]]:
            return []
