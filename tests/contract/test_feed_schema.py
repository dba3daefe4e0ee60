"""The schema of a feed is kept: what is last can be removed, and a version without rows has its columns."""

from __future__ import annotations

import csv
import io
from contextlib import aclosing
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import uuid4

import httpx2
import msgspec
import pandas
import polars
import pyarrow
import pytest

from broker_plane import Plane
from broker_plane.errors import (
    BrokerPlaneError,
    FeedNotFoundError,
    SchemaError,
    SelectorError,
    TabularError,
    WireError,
)
from broker_plane.subjects.feed_versions import GrantedVersions
from broker_plane.wire.feeds import Notice

pytestmark = pytest.mark.anyio
ONE = [{"id": 1, "mail": "a@b.example"}]
TWO = [*ONE, {"id": 2, "mail": "c@d.example", "phone": "555"}]
NAMES = ["id", "mail", "phone"]


class Stage(StrEnum):
    lead = "lead"
    won = "won"


async def publish(plane: Plane, feed: str, rows: Any, **options: Any) -> Any:
    return await plane.publish(rows, feed=feed, uses="unlimited", **{"key": "id", **options})


async def notices(plane: Plane, feed: str) -> list[Notice]:
    async with aclosing(plane.feeds.versions(feed)) as found:
        return [notice async for notice in found]


EMPTIES: dict[str, Any] = {
    "list": [],
    "tuple": (),
    "iterator": iter(()),
    "polars": polars.DataFrame({"id": [], "mail": []}, schema={"id": polars.Int64, "mail": polars.String}),
    "polars without columns": polars.DataFrame(),
    "polars with the key": polars.DataFrame({"id": []}),
    "pyarrow": pyarrow.table({"id": pyarrow.array([], pyarrow.int64()), "mail": pyarrow.array([], pyarrow.string())}),
    "pandas": pandas.DataFrame({"id": [], "mail": []}),
    "csv": list(csv.DictReader(io.StringIO("id,mail,phone\n"))),
}


@pytest.mark.parametrize("empty", EMPTIES.values(), ids=EMPTIES.keys())
async def test_all_rows_can_be_removed_by_a_snapshot(plane: Plane, feed: str, empty: Any) -> None:
    await publish(plane, feed, TWO)
    published = await publish(plane, feed, empty)
    assert (published.version, published.body.rows, list(published.body.columns)) == (2, 0, NAMES)
    (_, notice) = await notices(plane, feed)
    changes = await plane.feeds.changes(notice, 1)
    assert (changes.added, changes.changed, changes.removed) == ([], [], [{"id": 1}, {"id": 2}])
    assert (await publish(plane, feed, TWO)).version == 3
    with pytest.raises(SchemaError, match="'mail'"):  # as without the empty version in between
        await publish(plane, feed, [{"id": 1}])


@pytest.mark.parametrize("rows", [[], polars.DataFrame({"id": [], "mail": []}), pyarrow.table({"id": []})])
@pytest.mark.parametrize("removed", [[1, 2], [(1,), [2]], [{"id": 1}, {"id": 2, "mail": "x"}], {1, 2}, [1, 2, 99]])
async def test_all_rows_can_be_removed_by_a_delta(plane: Plane, feed: str, rows: Any, removed: Any) -> None:
    await publish(plane, feed, TWO)
    published = await publish(plane, feed, rows, kind="delta", removed=removed)
    assert (published.version, published.body.rows, list(published.body.columns)) == (2, 0, NAMES)


LAST_VALUES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]] = {
    "the row that has it goes": (TWO, ONE, {}),
    "the row that has it loses it": (TWO, [*ONE, {"id": 2, "mail": "c@d.example"}], {}),
    "a delta takes its row": (TWO, [], {"kind": "delta", "removed": [2]}),
    "a delta adds a row without it and takes the one that had it": (
        [TWO[1]],
        [{"id": 3, "mail": "e@f.example"}],
        {"kind": "delta", "removed": [2]},
    ),
    "it becomes None": (TWO, [*ONE, TWO[1] | {"phone": None}], {}),
    "a delta makes it None": (TWO, [{"id": 2, "phone": None}], {"kind": "delta"}),
    "None goes": ([TWO[0] | {"phone": None}, TWO[1]], ONE, {}),
    "it was None only": ([ONE[0] | {"phone": None}], [ONE[0] | {"mail": "new"}], {}),
    "the only row": ([TWO[1]], [], {}),
    "the only row, by a delta": ([TWO[1]], [], {"kind": "delta", "removed": [2]}),
    "another row comes": (TWO, [*ONE, {"id": 3, "mail": "e@f.example"}], {}),
}


@pytest.mark.parametrize(("before", "after", "options"), LAST_VALUES.values(), ids=LAST_VALUES.keys())
async def test_the_last_value_of_a_column_can_be_removed(
    plane: Plane, feed: str, before: Any, after: Any, options: Any
) -> None:
    await publish(plane, feed, before)
    published = await publish(plane, feed, after, **options)
    assert (published.version, set(published.body.columns)) == (2, set(NAMES))
    table = await plane.pull_table(published.resource_url, via="nats")
    assert set(table.column_names) == set(NAMES)
    assert [row for row in table.to_pylist() if row["phone"]] == []
    # It is still the same column: where it had values, one of another type is refused.
    row = {"id": 9, "mail": "x@y.example", "phone": 7}
    if before[-1].get("phone"):
        with pytest.raises(SchemaError, match="'phone'"):
            await publish(plane, feed, [row], kind="delta")
    assert (await publish(plane, feed, [row | {"phone": "7"}], kind="delta")).version == 3


async def test_an_optional_column_stays_one_when_the_rows_that_lack_it_are_gone(plane: Plane, feed: str) -> None:
    await publish(plane, feed, TWO)
    await publish(plane, feed, TWO[1:])
    assert (await publish(plane, feed, [{"id": 2, "mail": "c@d.example"}])).version == 3


async def test_a_version_without_rows_has_its_columns_everywhere(plane: Plane, feed: str) -> None:
    await publish(plane, feed, TWO)
    published = await publish(plane, feed, [])
    notice = (await notices(plane, feed))[-1]
    assert list(notice.columns) == notice.to_wire()["columns"] == NAMES
    address = published.resource_url
    assert await plane.pull(address, via="nats") == await plane.pull(address, columns=["phone"], via="http") == []
    for columns in (None, ["phone", "id"]):
        for via in ("nats", "http"):
            table = await plane.pull_table(address, columns=columns, via=via)
            assert (table.num_rows, table.column_names) == (0, columns or NAMES)
            assert polars.DataFrame(table).filter(polars.col("phone") == "5").is_empty()
    granted = (await plane.feeds.grant(feed, columns=["id", "phone"], where="phone = '555'")).resource_url
    async with httpx2.AsyncClient(trust_env=False) as client:
        text = (await client.get(address, headers={"accept": "text/csv"})).text
        assert text.splitlines() == [",".join(NAMES)]
        assert (await client.get(f"{granted}/2", headers={"accept": "text/csv"})).text.splitlines() == ["id,phone"]
        assert (await client.get(address)).json() == (await client.get(f"{granted}/2")).json() == []
        told = (await client.get(f"{granted}/2/changes?since=1")).json()
        assert (told["whole"], told["removed"]) == (False, [{"id": 2}])
        listed = (await client.get(granted)).json()["versions"]
        assert [version["columns"] for version in listed] == [["id", "phone"]] * 2
    with pytest.raises(SelectorError, match=r"no column 'fax' here; there are: id, mail, phone"):
        await plane.pull(address, columns=["fax"], via="nats")


async def test_a_column_may_be_added_and_is_empty_in_versions_before(plane: Plane, feed: str) -> None:
    await publish(plane, feed, ONE)
    await publish(plane, feed, [ONE[0] | {"city": "Oslo"}, {"id": 2, "mail": "c@d.example", "city": "Quito"}])
    views: list[tuple[dict[str, Any], list[Any], list[Any]]] = [
        ({"columns": ["id", "city"]}, [{"id": 1}], [{"id": 1, "city": "Oslo"}, {"id": 2, "city": "Quito"}]),
        ({"columns": ["id"], "where": "city = 'Oslo'"}, [], [{"id": 1}]),
        ({"columns": ["id"], "where": "city is null"}, [{"id": 1}], []),
    ]
    for less, before, after in views:
        one, two = await notices(plane, feed)
        granted = GrantedVersions(plane.pulls.nats, (await plane.feeds.grant(feed, **less)).resource_url)
        assert [await granted.rows(notice) for notice in (one, two)] == [before, after]
        table = {(row["id"],): row for row in before}
        (await granted.changes(two, 1)).apply(table)
        assert list(table.values()) == after
    never = GrantedVersions(plane.pulls.nats, (await plane.feeds.grant(feed, columns=["id", "fax"])).resource_url)
    with pytest.raises(SelectorError, match=r"no column 'fax' here; there are"):
        await never.rows(one)


async def test_columns_are_declared(plane: Plane, feed: str) -> None:
    first = await publish(plane, feed, [], columns=["id", "phone", "mail"])
    assert list(first.body.columns) == ["id", "phone", "mail"]
    assert (await publish(plane, feed, ONE)).version == 2  # nobody had a phone yet
    with pytest.raises(SchemaError, match="'fax' that columns= does not name"):
        await publish(plane, feed, [ONE[0] | {"fax": "1"}], columns=["id", "mail", "phone"])
    with pytest.raises(SchemaError, match="'phone' of this feed"):
        await publish(plane, feed, TWO[:1], columns=["id", "mail"])
    dropped = await publish(plane, feed, ONE, columns=["id", "mail"], new_schema=True)
    assert (dropped.version, list(dropped.body.columns)) == (3, ["id", "mail"])
    plain = await plane.publish([], columns=["b", "a"])
    assert (await plane.pull_table(plain.resource_url, via="nats")).column_names == ["b", "a"]


@pytest.mark.parametrize(
    ("rows", "options", "error", "said"),
    [
        ([], {"kind": "full"}, WireError, "'snapshot'"),
        ([], {"removed": [1]}, TabularError, 'kind="delta"'),
        ([], {"kind": "delta", "removed": "12"}, SchemaError, "list of keys"),
        ([], {"kind": "delta", "removed": 12}, TabularError, "list of keys"),
        ([], {"kind": "delta", "removed": [(1, 2)]}, TabularError, "the key of this feed is id"),
        ([], {"kind": "delta", "removed": [{"mail": "x"}]}, TabularError, "'id'"),
        ([], {"kind": "delta", "removed": [None]}, TabularError, "'id'"),
        (ONE, {"kind": "delta", "removed": [1]}, TabularError, "both in the rows and in removed"),
        ([{"id": float("nan"), "mail": ""}], {}, TabularError, "'id'"),
        ([{"id": 1}], {}, SchemaError, "publish None there"),
        ([{"id": 1, "mail": 5}], {}, SchemaError, "type str"),
        ([{"id": 1, "mail": 5}], {"kind": "delta"}, SchemaError, "type str"),
        (ONE, {"key": "mail"}, SchemaError, "has the key id"),
        (ONE, {"key": None}, SchemaError, "has the key id"),
        (ONE, {"columns": "id"}, WireError, "list of names"),
        (ONE, {"columns": ["id", "id"]}, WireError, "twice"),
    ],
)
async def test_a_slip_is_an_error_that_says_what_to_do(
    plane: Plane, feed: str, rows: Any, options: Any, error: type[BrokerPlaneError], said: str
) -> None:
    await publish(plane, feed, TWO[1:])
    with pytest.raises(error, match=said):
        await publish(plane, feed, rows, **options)
    assert len(await notices(plane, feed)) == 1


@pytest.mark.parametrize("kinds", [("Stage",), ("Timestamp",), ("int64",), ("float32", "null"), ("tuple",)])
async def test_a_feed_of_a_version_before_that_named_other_types_is_gone_on_with(
    plane: Plane, feed: str, kinds: tuple[str, ...]
) -> None:
    """Earlier versions recorded the types that values had before they were stored."""
    await publish(plane, feed, ONE)
    (last,) = await notices(plane, feed)
    columns = {**last.columns, "mail": kinds}
    written = msgspec.structs.replace(last, version=2, columns=columns)
    await plane.feeds.adapters.log.commit(written, last.sequence)
    published = await publish(plane, feed, [{"id": 2, "mail": "c@d.example"}], kind="delta")
    assert published.version == 3
    assert set((await notices(plane, feed))[-1].columns["mail"]) - {"null"} == {"str"}


@pytest.mark.parametrize("value", [Stage.lead, pandas.Timestamp("2026-01-01"), datetime(2026, 1, 1), (1, 2), 5])
async def test_a_delta_comes_after_a_snapshot_of_any_values(plane: Plane, feed: str, value: Any) -> None:
    await publish(plane, feed, [{"id": n, "v": value, "mail": "x" * 50} for n in range(40)])
    assert (await publish(plane, feed, [{"id": 1, "mail": "y"}], kind="delta")).version == 2
    changes = await plane.feeds.changes((await notices(plane, feed))[-1], 1)
    assert (changes.added, changes.changed, changes.removed) == ([], [{"id": 1, "mail": "y"}], [])


async def test_the_same_rows_by_another_key_are_another_version(plane: Plane, feed: str) -> None:
    await publish(plane, feed, ONE)
    assert (await publish(plane, feed, ONE, key="mail", new_schema=True)).version == 2


@pytest.mark.parametrize("asked", ["crm.nofeed", "nofeed"])
async def test_the_versions_of_no_feed_are_an_error(plane: Plane, asked: str) -> None:
    with pytest.raises(FeedNotFoundError, match=f"no feed {asked} here"):
        await notices(plane, asked)
    feed = f"crm.contacts{uuid4().hex[:4]}"
    await publish(plane, feed, ONE)
    with pytest.raises(FeedNotFoundError, match=f"Did you mean {feed}"):
        await notices(plane, feed + "s")
