"""Consumer tools with several bodies, and with rows of the author's own types."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NotRequired, TypedDict, TypeVar

import polars as pl
import pytest
from pydantic import BaseModel, Field

from broker_plane import PlaneServer
from broker_plane.errors import ConfigError
from broker_plane.runtime.texts import publish_text
from tests.interaction.conftest import Agent, error_of, shape_of, text_of

pytestmark = pytest.mark.anyio
ORDERS = [{"id": 1, "customer": "a", "cost": 2.5}, {"id": 2, "customer": "b", "cost": 4.0}]
CUSTOMERS = [{"customer": "a", "city": "Bern"}, {"customer": "b", "city": "Rome"}]
BOTH = "abstract_data", "resource_url", "body_data", "column_mapping"


class Alert(BaseModel):
    """One row."""

    id: int
    customer: str
    note: str = "none"


@dataclass
class Bill:
    id: int
    cost: float


class Named(NamedTuple):
    customer: str
    city: str


class Typed(TypedDict):
    id: int
    note: NotRequired[str]


T = TypeVar("T")


@pytest.fixture
def calls(server: PlaneServer) -> list[Any]:
    """What a consumer was called with; beside it `orders` and `customers` are resource tools."""

    @server.resource_tool(uses="unlimited")
    def orders() -> list[dict[str, Any]]:
        return ORDERS

    @server.resource_tool(uses="unlimited")
    def customers() -> list[dict[str, Any]]:
        return CUSTOMERS

    return []


async def url_of(agent: Agent, tool: str, columns: str = "customer") -> str:
    url: str = shape_of(await agent(tool, abstract_domains=columns))["resource_url"]
    return url


async def test_each_of_several_bodies_has_its_own_url_and_rows(
    server: PlaneServer, agent: Agent, calls: list[Any]
) -> None:
    @server.consumer_tool
    def join(orders: list[dict[str, Any]], customers: pl.DataFrame, title: str = "") -> str:
        calls.append((orders, customers.to_dicts(), title))
        return "joined"

    shown = shape_of(await agent("orders", abstract_domains="id"))
    chosen = json.dumps([shown["abstract"][1]])
    done = await agent(
        "join",
        orders_resource_url=shown["resource_url"],
        orders_abstract_data=chosen,
        customers_resource_url=await url_of(agent, "customers"),
        customers_column_mapping='{"city": "town"}',
        title="t",
    )
    assert text_of(done) == "joined"
    towns = [{"customer": row["customer"], "town": row["city"]} for row in CUSTOMERS]
    assert calls == [([ORDERS[1]], towns, "t")]
    tool = next(tool for tool in await server.mcp.list_tools() if tool.name == "join")
    names = {f"{body}_{name}" for body in ("orders", "customers") for name in BOTH}
    assert set(tool.input_schema["properties"]) == {*names, "title"}
    assert tool.description is not None and "orders and customers" in tool.description


async def test_a_missing_body_is_named_and_no_other_is_pulled(
    server: PlaneServer, agent: Agent, calls: list[Any]
) -> None:
    @server.resource_tool(uses=1)
    def once() -> list[dict[str, Any]]:
        return ORDERS

    @server.consumer_tool
    def join(left: list[dict[str, Any]], right: list[dict[str, Any]]) -> str:
        calls.append((left, right))
        return "joined"

    url = await url_of(agent, "once")
    assert "right_resource_url" in error_of(await agent("join", left_resource_url=url))
    bad = {"right_resource_url": await url_of(agent, "orders"), "right_abstract_data": "{"}
    assert "right_abstract_data" in error_of(await agent("join", left_resource_url=url, **bad))
    assert calls == []
    good = {"right_resource_url": await url_of(agent, "customers")}
    assert text_of(await agent("join", left_resource_url=url, **good)) == "joined"


async def test_a_body_with_a_default_may_be_left_out(server: PlaneServer, agent: Agent, calls: list[Any]) -> None:
    @server.consumer_tool
    def join(orders: list[dict[str, Any]], customers: Annotated[pl.DataFrame | None, Field()] = None) -> str:
        calls.append((orders, customers))
        return "ok"

    assert text_of(await agent("join", orders_resource_url=await url_of(agent, "orders"))) == "ok"
    assert calls == [(ORDERS, None)]


async def test_the_parameter_with_rows_is_the_body_wherever_it_is(
    server: PlaneServer, agent: Agent, calls: list[Any]
) -> None:
    @server.consumer_tool
    def chart(title: str, rows: list[dict[str, Any]], target: Path | None = None) -> str:
        calls.append((title, rows, target))
        return "ok"

    assert text_of(await agent("chart", title="t", resource_url=await url_of(agent, "orders"))) == "ok"
    assert calls == [("t", ORDERS, None)]


async def test_bodies_can_be_named(server: PlaneServer, agent: Agent, calls: list[Any]) -> None:
    @server.consumer_tool(bodies=["rows"])
    def keep(rows: list[dict[str, Any]], defaults: list[dict[str, Any]]) -> str:
        calls.append((rows, defaults))
        return "ok"

    done = await agent("keep", resource_url=await url_of(agent, "customers"), defaults=[{"a": 1}])
    assert text_of(done) == "ok"
    assert calls == [(CUSTOMERS, [{"a": 1}])]
    with pytest.raises(ConfigError, match="rows, defaults"):
        server.consumer_tool(bodies=["row"])(keep)


FORMS: list[tuple[Any, Any]] = [
    (list[Alert], [Alert(id=1, customer="a"), Alert(id=2, customer="b")]),
    (Annotated[list[Alert], Field(description="alerts")], [Alert(id=1, customer="a"), Alert(id=2, customer="b")]),
    (list[Annotated[Alert, Field()]], [Alert(id=1, customer="a"), Alert(id=2, customer="b")]),
    (Sequence[Bill], [Bill(1, 2.5), Bill(2, 4.0)]),
    (tuple[Bill, ...], (Bill(1, 2.5), Bill(2, 4.0))),
    (list[Bill] | None, [Bill(1, 2.5), Bill(2, 4.0)]),
    (list[Typed], [{"id": 1}, {"id": 2}]),
    (list[T], ORDERS),  # type: ignore[valid-type]
    (list[Any], ORDERS),
    (list, ORDERS),
]


@pytest.mark.parametrize(("annotation", "expected"), FORMS, ids=lambda form: str(form)[:40])
async def test_rows_arrive_in_the_annotated_type(
    server: PlaneServer, agent: Agent, calls: list[Any], annotation: Any, expected: Any
) -> None:
    def consume(rows: Any) -> str:
        calls.append(rows)
        return "ok"

    consume.__annotations__["rows"] = annotation
    server.consumer_tool(consume)
    assert text_of(await agent("consume", resource_url=await url_of(agent, "orders"))) == "ok"
    assert calls == [expected]
    assert type(calls[0]) is type(expected)


async def test_named_tuples_and_iterators(server: PlaneServer, agent: Agent, calls: list[Any]) -> None:
    @server.consumer_tool
    def tuples(rows: Iterator[Named]) -> str:
        calls.append(list(rows))
        return "ok"

    @server.consumer_tool
    async def stream(rows: AsyncIterator[Named]) -> str:
        calls.append([row async for row in rows])
        return "ok"

    for tool in ("tuples", "stream"):
        assert text_of(await agent(tool, resource_url=await url_of(agent, "customers"))) == "ok"
    assert calls == [[Named("a", "Bern"), Named("b", "Rome")]] * 2


async def test_a_list_of_values_is_taken_from_the_only_column(
    server: PlaneServer, agent: Agent, calls: list[Any]
) -> None:
    @server.resource_tool(uses="unlimited")
    def days() -> list[date]:
        return [date(2026, 1, 1), date(2026, 1, 2)]

    @server.consumer_tool
    def consume(values: list[date]) -> str:
        calls.append(values)
        return "ok"

    assert text_of(await agent("consume", resource_url=await url_of(agent, "days", "value"))) == "ok"
    assert calls == [[date(2026, 1, 1), date(2026, 1, 2)]]
    assert "3 columns" in error_of(await agent("consume", resource_url=await url_of(agent, "orders")))


async def test_a_row_that_does_not_fit_is_named_and_uses_nothing_up(
    server: PlaneServer, agent: Agent, calls: list[Any]
) -> None:
    @server.resource_tool(uses=1)
    def once() -> list[dict[str, Any]]:
        return [{"id": 1, "cost": Decimal("2.5")}, {"id": "x", "cost": 1}, {"cost": 1}]

    @server.consumer_tool
    def bills(rows: list[Bill]) -> str:
        return "never called"

    @server.consumer_tool
    def plain(rows: list[dict[str, Any]]) -> str:
        return f"{len(rows)} rows"

    @server.consumer_tool
    def both(paid: list[Bill], due: list[Bill]) -> str:
        return "never called"

    url = await url_of(agent, "once", "cost")
    said = error_of(await agent("bills", resource_url=url))
    assert "Row 1, column 'id'" in said and "'x'" in said and "1 more" in said
    other = await url_of(agent, "once", "cost")
    said = error_of(await agent("both", paid_resource_url=other, due_resource_url=other))
    assert "paid: Row 1, column 'id'" in said
    assert text_of(await agent("plain", resource_url=url)) == "3 rows"


async def test_a_text_with_its_table_is_rows_for_a_tool_that_takes_rows(
    server: PlaneServer, agent: Agent, calls: list[Any]
) -> None:
    @server.consumer_tool
    def consume(rows: list[dict[str, Any]]) -> str:
        calls.append(rows)
        return "ok"

    @server.consumer_tool
    def frame(rows: pl.DataFrame) -> str:
        calls.append(rows.to_dicts())
        return "ok"

    @server.consumer_tool
    def raw(body: bytes) -> str:
        calls.append(body)
        return "ok"

    rows = [{"id": 1, "name": "x"}, {"id": 2, "name": "y"}]
    text = b"id,name\n1,x\n2,y\n"
    plane = await server.plane()
    published = await publish_text(plane, text, rows, ["id", "name"], media_type="text/csv", name="t.csv")
    chosen = json.dumps([{"_row_id": 1, "name": "y"}])
    for tool in ("consume", "frame"):
        assert text_of(await agent(tool, resource_url=published.resource_url)) == "ok"
        assert text_of(await agent(tool, resource_url=published.resource_url, abstract_data=chosen)) == "ok"
    assert text_of(await agent("raw", resource_url=published.resource_url)) == "ok"
    assert calls == [rows, rows[1:], rows, rows[1:], text]
    opaque = await plane.publish(b"just words", media_type="text/plain", uses="unlimited")
    assert "is opaque" in error_of(await agent("consume", resource_url=opaque.resource_url))


class Cat(BaseModel):
    meow: int = 0


class Dog(BaseModel):
    bark: int = 0


class Renamed(BaseModel):
    area: str = Field(alias="areaName")


@pytest.mark.parametrize(
    ("item", "data", "expected"),
    [
        (Cat | Dog, [{"meow": 1}, {"bark": 2}], [Cat(meow=1), Dog(bark=2)]),
        (int | None, [1, None], [1, None]),
        (int | str, ["007", "8"], ["007", "8"]),
        (Annotated[int, Field(gt=0)], [1, 2], [1, 2]),
    ],
)
async def test_all_of_an_annotation_counts(
    agent: Agent, server: PlaneServer, item: Any, data: list[Any], expected: list[Any]
) -> None:
    called: list[Any] = []

    def use(values: Any) -> None:
        called.append(values)

    use.__annotations__["values"] = list[item]
    server.consumer_tool(use)
    published = await (await server.plane()).publish(data, uses=1)
    assert not (await agent("use", resource_url=published.resource_url)).is_error
    assert called == [expected]


async def test_a_constraint_on_a_value_holds(agent: Agent, server: PlaneServer) -> None:
    @server.consumer_tool
    def use(values: list[Annotated[int, Field(gt=0)]]) -> None: ...

    published = await (await server.plane()).publish([1, -2], uses=1)
    assert "greater than 0 (found -2)" in error_of(await agent("use", resource_url=published.resource_url))


async def test_models_with_aliases_go_from_one_tool_to_another(agent: Agent, server: PlaneServer) -> None:
    called: list[Any] = []

    @server.resource_tool
    def areas() -> list[Renamed]:
        return [Renamed(areaName="x"), Renamed(areaName="y")]

    @server.consumer_tool
    def use(rows: list[Renamed]) -> None:
        called.append(rows)

    assert json.loads(text_of(await agent("areas"))) == [{"areaName": "x"}, {"areaName": "y"}]
    shape = shape_of(await agent("areas", abstract_domains="areaName"))
    assert not (await agent("use", resource_url=shape["resource_url"])).is_error
    assert called == [[Renamed(areaName="x"), Renamed(areaName="y")]]


async def test_no_use_is_spent_if_the_grant_of_another_body_is_used_up(agent: Agent, server: PlaneServer) -> None:
    @server.consumer_tool
    def join(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> int:
        return len(a) + len(b)

    plane = await server.plane()
    good, used = [(await plane.publish(ORDERS, uses=1)).resource_url for _ in range(2)]
    await plane.pull(used)
    assert "used up" in error_of(await agent("join", a_resource_url=good, b_resource_url=used))
    assert await plane.pull(good) == ORDERS
