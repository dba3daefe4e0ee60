"""What queries over bodies give, and what their results are."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import httpx2
import polars
import pyarrow
import pytest

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.errors import (
    ForbiddenError,
    QueryFailedError,
    QueryRefusedError,
    QueryUnavailableError,
    TooCostlyError,
    UntrustedHostError,
    WireError,
)
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.query.tables import BodyTable
from broker_plane.testing.processes import until
from broker_plane.wire.grant import grant_of, peek

pytestmark = pytest.mark.anyio

ORDERS: list[dict[str, Any]] = [
    {"id": 1, "who": "ada", "cents": 250, "at": datetime(2026, 1, 3, 10, 30, tzinfo=UTC)},
    {"id": 2, "who": "bo", "cents": 100, "at": datetime(2026, 1, 4, 9, 0, tzinfo=UTC)},
    {"id": 3, "who": "ada", "cents": 50, "at": datetime(2026, 1, 5, 23, 59, tzinfo=UTC)},
]
PEOPLE: list[dict[str, Any]] = [{"who": "ada", "city": "London"}, {"who": "bo", "city": "Oslo"}]


async def _rows(plane: Plane, sql: str, **bodies: Any) -> list[dict[str, Any]]:
    urls = {
        name: body if isinstance(body, str) else (await plane.publish(body, uses="unlimited")).resource_url
        for name, body in bodies.items()
    }
    result = await plane.query(sql, urls)
    assert result.total_rows == len(result.rows)
    return result.rows


async def test_a_join_of_two_bodies_is_grouped_and_ranked(plane: Plane) -> None:
    sql = """
        SELECT city, sum(cents) AS total, rank() OVER (ORDER BY sum(cents) DESC) AS place
        FROM orders JOIN people USING (who) GROUP BY city ORDER BY place
    """
    assert await _rows(plane, sql, orders=ORDERS, people=polars.DataFrame(PEOPLE)) == [
        {"city": "London", "total": 300, "place": 1},
        {"city": "Oslo", "total": 100, "place": 2},
    ]


async def test_the_result_is_a_body_with_every_row_and_type(plane: Plane) -> None:
    table = pyarrow.table(
        {
            "price": pyarrow.array([Decimal("1.10"), Decimal("2.25")], pyarrow.decimal128(8, 2)),
            "day": pyarrow.array([date(2026, 1, 2), None]),
            "at": pyarrow.array([datetime(2026, 1, 2, 3, 4, 5, 6), None], pyarrow.timestamp("us")),
            "tags": pyarrow.array([["a", "b"], []]),
            "place": pyarrow.array([{"x": 1, "y": [1.5]}, None]),
            "raw": pyarrow.array([b"\x00\xff", b""]),
            "on": pyarrow.array([True, None]),
        }
    )
    published = await plane.publish(table, uses="unlimited")
    result = await plane.query("SELECT * FROM a", a=published.resource_url)
    assert [column.type for column in result.columns] == [
        "DECIMAL(8,2)",
        "DATE",
        "TIMESTAMP",
        "VARCHAR[]",
        "STRUCT(x BIGINT, y DOUBLE[])",
        "BLOB",
        "BOOLEAN",
    ]
    assert (await result.table()).to_pylist() == table.to_pylist()
    assert result.rows[0]["price"] == "1.10"


async def test_types_that_bodies_do_not_have_become_texts(plane: Plane) -> None:
    sql = """
        SELECT INTERVAL 3 DAY AS i, '6e8bc430-9c3a-11d9-9669-0800200c9a66'::UUID AS u, '101'::BIT AS b,
               'x'::ENUM('x', 'y') AS e, union_value(n := 1) AS v, TIME '10:00:00' AS t, 2::HUGEINT AS h,
               170141183460469231731687303715884105727::HUGEINT // 10 AS huge, MAP {'k': 1} AS m, NULL AS nothing
        FROM a
    """
    (row,) = await _rows(plane, sql, a=[{"x": 1}])
    assert row == {
        "i": "3 days",
        "u": "6e8bc430-9c3a-11d9-9669-0800200c9a66",
        "b": "101",
        "e": "x",
        "v": "1",
        "t": "10:00:00",
        "h": 2,
        "huge": "17014118346046923173168730371588410572",
        "m": [["k", 1]],
        "nothing": None,
    }


async def test_rows_with_absent_and_mixed_values_are_a_table(plane: Plane) -> None:
    rows = [{"n": 1, "x": 1}, {"n": 2, "x": "two"}, {"n": 3}, {"n": 4, "x": [4]}, {"n": 5, "late": True}]
    assert await _rows(plane, "SELECT n, x, typeof(x) AS t FROM a WHERE n <> 5 ORDER BY n", a=rows) == [
        {"n": 1, "x": "1", "t": "VARCHAR"},
        {"n": 2, "x": "two", "t": "VARCHAR"},
        {"n": 3, "x": None, "t": "VARCHAR"},
        {"n": 4, "x": "[4]", "t": "VARCHAR"},
    ]
    assert await _rows(plane, "SELECT count(late) AS n FROM a", a=rows) == [{"n": 1}]


async def test_columns_that_change_their_type_between_frames_are_one_column(plane: Plane) -> None:
    rows = [{"n": n, "x": n if n < 30_000 else n + 0.5, "y": n if n < 30_000 else "y"} for n in range(60_000)]
    sql = "SELECT max(x) AS x, min(y) FILTER (n = 7) AS low, max(y) AS high, count(*) AS n FROM a"
    assert await _rows(plane, sql, a=rows) == [{"x": 59_999.5, "low": "7", "high": "y", "n": 60_000}]


async def test_empty_tables_have_their_columns(plane: Plane) -> None:
    empty = await plane.publish([], columns=["x", "y"], uses="unlimited")
    assert await _rows(plane, "SELECT count(*) AS n, max(x) AS x FROM a", a=empty.resource_url) == [{"n": 0, "x": None}]
    result = await plane.query("SELECT x, y FROM a", a=empty.resource_url)
    assert (result.total_rows, [column.name for column in result.columns]) == (0, ["x", "y"])
    assert (await result.table()).num_rows == 0
    nothing = polars.DataFrame({"x": []}, schema={"x": polars.Int64})
    assert await _rows(plane, "SELECT x FROM a", a=nothing) == []


async def test_equal_and_reserved_column_names_get_names_of_their_own(plane: Plane) -> None:
    (row,) = await _rows(plane, "SELECT 1 AS x, 2 AS x, 3 AS _row_id, count(*), count(*) FROM a", a=[{"n": 1}])
    assert row == {"x": 1, "x_1": 2, "row_id": 3, "count_star()": 1, "count_star()_1": 1}


async def test_a_result_larger_than_the_answer_is_complete_in_the_body(plane: Plane) -> None:
    published = await plane.publish([{"n": n} for n in range(5_000)], uses="unlimited")
    result = await plane.query("SELECT n, n * 2 AS twice FROM a ORDER BY n", a=published.resource_url, rows=3)
    assert result.truncated
    assert (result.total_rows, result.rows) == (5_000, [{"n": n, "twice": 2 * n} for n in range(3)])
    assert (await result.table()).column("twice").to_pylist() == [2 * n for n in range(5_000)]
    again = await plane.query("SELECT sum(twice) AS s FROM a", a=result.resource_url)
    assert again.rows == [{"s": 24_995_000}]


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        (
            "SELECT nope FROM a",
            '^Binder Error: Referenced column "nope" not found in FROM clause!\na has: id, who, cents',
        ),
        ("SELECT a.nope FROM a", 'does not have a column named "nope".\na has: id, who, cents, at'),
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM b", r"There is no table 'b' here; there are: a\.\na has: id, who"),
        ("SELECT who::INTEGER FROM a", "Could not convert"),
        ("SELECT " + "(" * 3000 + "1" + ")" * 3000, "depth limit"),
    ],
)
async def test_a_wrong_statement_says_what_is_wrong(plane: Plane, sql: str, says: str) -> None:
    published = await plane.publish(ORDERS, uses="unlimited")
    with pytest.raises(QueryFailedError, match=says):
        await plane.query(sql, a=published.resource_url)


async def test_a_result_beyond_its_limits_is_refused(plane: Plane) -> None:
    published = await plane.publish([{"n": 1}], uses="unlimited")
    with pytest.raises(TooCostlyError, match="4 MiB"):
        await plane.query("SELECT x, repeat('a', 100) AS y FROM range(100000) t(x), a", a=published.resource_url)


async def test_hidden_columns_and_rows_are_not_in_the_worker(plane: Plane) -> None:
    rows = [{"n": n, "open": n % 3, "secret": f"secret {n}"} for n in range(60)]
    for data in (rows, polars.DataFrame(rows)):
        published = await plane.publish(data, uses="unlimited")
        shown = plane.narrow(published.resource_url, columns=["n", "open"], where="open = 1")
        total = await _rows(plane, "SELECT count(*) AS n, min(open) AS o, max(open) AS p FROM a", a=shown.resource_url)
        assert total == [{"n": 20, "o": 1, "p": 1}]
        with pytest.raises(QueryFailedError, match=r"a has: n, open$") as raised:
            await plane.query("SELECT secret FROM a", a=shown.resource_url)
        assert "secret 1" not in str(raised.value)
        result = await plane.query("SUMMARIZE a", a=shown.resource_url)
        assert [row["column_name"] for row in result.rows] == ["n", "open"]
        (whole, *_) = await _rows(plane, "SELECT a FROM a ORDER BY n LIMIT 1", a=shown.resource_url)
        assert whole == {"a": {"n": 1, "open": 1}}


async def test_the_result_expires_with_the_first_source_and_has_their_audience(plane: Plane) -> None:
    long = await plane.publish(ORDERS, uses="unlimited", ttl="2h")
    short = plane.narrow((await plane.publish(PEOPLE, uses="unlimited")).resource_url, ttl=50, max_bytes=100_000)
    result = await plane.query("SELECT * FROM a, b", a=long.resource_url, b=short.resource_url, ttl="1h")
    grant = peek(grant_of(result.resource_url))
    assert grant.expires == result.expires.timestamp() == peek(grant_of(short.resource_url)).expires
    assert (grant.uses, grant.scope.bytes) == (0, 100_000)
    counted = await plane.query("SELECT 1 AS x FROM a", a=long.resource_url, uses=2)
    assert peek(grant_of(counted.resource_url)).uses == 2


async def test_the_result_belongs_to_the_owner_of_the_first_body(
    plane: Plane, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = load_settings(
        nats_url=plane.settings.nats_url,
        bridge_url=plane.bridge_url,
        owner="other",
        data_dir=tmp_path_factory.mktemp("other"),
    )
    async with Plane.connect(settings) as other:
        first = await other.publish(PEOPLE, uses="unlimited")
        second = await plane.publish(ORDERS, uses="unlimited")
        before = {body.id for body in await plane.bodies.list()}
        result = await plane.query(
            "SELECT city, sum(cents) AS c FROM p JOIN o USING (who) GROUP BY city ORDER BY c",
            {"p": first.resource_url, "o": second.resource_url},
        )
        grant = peek(grant_of(result.resource_url))
        assert {body.id for body in await plane.bodies.list()} == before
        assert {body.id for body in await other.bodies.list()} == {first.body.id, grant.body}
        assert (
            await other.pull(result.resource_url)
            == result.rows
            == [
                {"city": "Oslo", "c": 100},
                {"city": "London", "c": 300},
            ]
        )
        await other.revoke(result.resource_url)


async def test_a_query_costs_no_use_and_is_charged_and_audited(plane: Plane) -> None:
    published = await plane.publish([{"n": n} for n in range(100)], uses=1)
    url = published.resource_url
    for _ in range(3):
        await plane.query("SELECT count(*) AS n FROM a", a=url)
    with pytest.raises(ForbiddenError, match="can still be pulled"):  # two deliveries' worth
        for _ in range(3):
            await plane.query("SELECT * FROM a", a=url)
    other = await plane.publish([{"n": 1}], uses=1)
    await plane.query("SELECT n FROM a", a=other.resource_url)
    assert await plane.pull(other.resource_url) == [{"n": 1}]

    async def audited() -> list[Any]:
        return [entry for entry in await plane.bodies.audit(other.body.id) if entry.what == "queried"]

    entries = await until(audited, "the audit")
    assert (entries[0].columns, entries[0].rows, entries[0].way) == (("n",), 1, "http")


async def test_a_grant_limits_bytes_and_formats_of_a_query(plane: Plane) -> None:
    published = await plane.publish([{"n": n, "t": f"{n * n}/{n}"} for n in range(1_000)], uses="unlimited")
    small = plane.narrow(published.resource_url, max_bytes=2_000)
    with pytest.raises(Exception, match="2000 bytes that a grant allows"):
        await plane.query("SELECT t FROM a", a=small.resource_url)
    only = plane.narrow(published.resource_url, formats=["text/csv"])
    with pytest.raises(WireError, match="text/csv only"):
        await plane.query("SELECT t FROM a", a=only.resource_url)


async def test_what_is_not_a_table_is_refused(plane: Plane) -> None:
    published = await plane.publish(b"bytes", uses="unlimited")
    with pytest.raises(QueryFailedError, match="'a' is opaque"):
        await plane.query("SELECT * FROM a", a=published.resource_url)
    with pytest.raises(UntrustedHostError):
        await plane.query("SELECT 1 FROM a", a=f"http://192.0.2.1/s2sp/data/{published.grant}")
    with pytest.raises(WireError, match="same name"):
        await plane.query("SELECT 1 FROM a", {"a": published.grant, "A": published.grant})


async def test_audiences_that_do_not_meet_are_refused(plane: Plane) -> None:
    one, two = [
        plane.narrow((await plane.publish(ORDERS, uses="unlimited")).resource_url, audience=name) for name in ("x", "y")
    ]
    with pytest.raises(QueryRefusedError, match="audiences"):
        await plane.query("SELECT 1 FROM a, b", a=one.resource_url, b=two.resource_url)


async def test_the_route_answers_with_problem_details(plane: Plane) -> None:
    published = await plane.publish(ORDERS, uses="unlimited")
    async with httpx2.AsyncClient(trust_env=False) as client:

        async def ask(**fields: Any) -> httpx2.Response:
            return await client.post(f"{plane.bridge_url}/v1/query", json=fields)

        forged = published.grant[:-1] + ("A" if published.grant[-1] != "A" else "Q")
        answer = await ask(sql="SELECT max(cents) AS c FROM a", bodies={"a": published.resource_url})
        fields = answer.json()
        assert (fields["columns"], fields["rows"]) == ([{"name": "c", "type": "BIGINT"}], [{"c": 250}])
        assert fields["resource_url"].startswith(plane.bridge_url)
        refused: list[tuple[dict[str, Any], int, str]] = [
            ({"sql": "DROP VIEW a", "bodies": {"a": published.grant}}, 403, "query_refused"),
            ({"sql": "SELECT x FROM a", "bodies": {"a": published.grant}}, 422, "query_failed"),
            ({"sql": "SELECT 1", "bodies": {}}, 400, "bad_request"),
            ({"sql": "SELECT 1", "bodies": {"a": "no grant"}}, 400, "bad_request"),
            ({"sql": "SELECT 1", "bodies": {"a b": published.grant}}, 400, "bad_request"),
            ({"sql": "SELECT 1", "bodies": {"a": published.grant}, "rows": -1}, 400, "bad_request"),
            ({"sql": "SELECT 1", "bodies": {"a": forged}}, 404, "unknown_grant"),
        ]
        for wrong, status, code in refused:
            answer = await ask(**wrong)
            assert (answer.status_code, answer.json()["code"]) == (status, code), wrong
            assert answer.headers["content-type"] == "application/problem+json"
        metrics = (await client.get(f"{plane.bridge_url}/metrics")).text
        assert re.search(r'broker_plane_forged_grants_total\{way="http"\} [1-9]', metrics)
        assert re.search(r"broker_plane_queries_total [1-9]", metrics)


async def test_a_bridge_without_workers_says_so(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> None:
    from msgspec.structs import replace

    settings = replace(plane.settings, query_workers=0, data_dir=tmp_path_factory.mktemp("off"))
    async with Plane.connect(settings) as off:
        published = await off.publish(ORDERS, uses="unlimited")
        with pytest.raises(QueryUnavailableError, match="QUERY_WORKERS is 0"):
            await off.query("SELECT 1 FROM a", a=published.resource_url)


async def test_another_engine_gets_the_same_table_as_an_arrow_stream(plane: Plane) -> None:
    published = await plane.publish(ORDERS, uses="unlimited")
    shown = plane.narrow(published.resource_url, columns=["id", "who"], where="cents > 60")
    deliveries: Deliveries = plane.wiring.deliveries
    opened = await deliveries.open(grant_of(shown.resource_url))
    source = BodyTable(deliveries, opened, await deliveries.find(opened))
    raw = b"".join([piece async for piece in source.arrow(["who"])])
    with pyarrow.ipc.open_stream(raw) as reader:
        assert reader.read_all().to_pylist() == [{"who": "ada"}, {"who": "bo"}]
    assert (source.columns, source.rows) == (("id", "who"), 2)


async def test_the_answer_is_json_of_bounded_size(plane: Plane) -> None:
    published = await plane.publish([{"n": n} for n in range(1_000)], uses="unlimited")
    result = await plane.query("SELECT n, repeat('x', 2000) AS t FROM a", a=published.resource_url, rows=1_000)
    assert result.truncated
    assert 0 < len(json.dumps(result.rows)) < 300_000


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([2**63 + 5, 0], ["9223372036854775813", "0"]),
        ([date(2026, 1, 2), datetime(2026, 1, 2, 10, 30)], ["2026-01-02", "2026-01-02T10:30:00"]),
        (
            [datetime(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC)],
            ["2026-01-02T00:00:00", "2026-01-02T00:00:00+00:00"],
        ),
        ([Decimal("1.10"), 2.5], ["1.10", "2.5"]),
        (["\ud800", "x"], ["?", "x"]),
    ],
)
async def test_values_without_a_common_type_are_shown_as_they_are(
    plane: Plane, values: list[Any], shown: list[str]
) -> None:
    assert await _rows(plane, "SELECT v FROM a", a=[{"v": value} for value in values]) == [
        {"v": text} for text in shown
    ]


async def test_a_name_that_means_two_columns_is_refused(plane: Plane) -> None:
    published = await plane.publish([{"ID": 1, "id": 2, "n": 3}], uses="unlimited")
    assert await _rows(plane, "SELECT n FROM a", a=published.resource_url) == [{"n": 3}]
    with pytest.raises(QueryFailedError, match="differ in case alone"):
        await plane.query("SELECT id FROM a", a=published.resource_url)
    one = plane.narrow(published.resource_url, columns=["id"])
    assert await _rows(plane, "SELECT id FROM a", a=one.resource_url) == [{"id": 2}]


@pytest.mark.parametrize(
    "sql", ["SELECT date '9999-12-31' + 1 AS d FROM a", "SELECT 'infinity'::TIMESTAMP AS d FROM a"]
)
async def test_a_time_that_no_body_has_is_an_error_with_advice(plane: Plane, sql: str) -> None:
    published = await plane.publish(PEOPLE, uses="unlimited")
    with pytest.raises(QueryFailedError, match="Cast that column to VARCHAR"):
        await plane.query(sql, a=published.resource_url)
    assert await _rows(plane, "SELECT TIMESTAMP_NS '2026-01-02 03:04:05.123456789' AS t", a=PEOPLE) == [
        {"t": "2026-01-02 03:04:05.123456789"}
    ]


async def test_what_an_error_shows_is_charged(plane: Plane) -> None:
    """A use pays for two deliveries' worth, whether a result shows the values or an error."""
    published = await plane.publish([{"n": number} for number in range(200)], uses=1)
    shown = 0
    with pytest.raises(ForbiddenError):
        for _ in range(20):
            with pytest.raises(QueryFailedError) as raised:
                await plane.query(
                    "SELECT error(string_agg(n::VARCHAR, ',' ORDER BY n)) FROM a", a=published.resource_url
                )
            shown += str(raised.value).count(",199")
    assert 1 <= shown <= 3
