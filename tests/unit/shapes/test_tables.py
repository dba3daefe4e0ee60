"""Which texts and values are tables, and which one each of them is."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from broker_plane.shapes.recognise import Table, recognise_text, recognise_value

A, AB = [{"a": 1}], [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
POINT = {"type": "Point", "coordinates": [1, 2]}
NIL = UUID(int=0)


def feature(**members: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": {"n": 1}, "geometry": POINT} | members


VALUES: dict[str, list[tuple[Any, str, list[dict[str, Any]]]]] = {
    "rows": [
        (A, "", A),
        (AB, "", AB),
        ([{"a": 1}, {"b": 2}], "", [{"a": 1}, {"b": 2}]),
        ([{"a": None}, {}], "", [{"a": None}, {}]),
        ([{"a": {"deep": [1, {"x": 2}]}}], "", [{"a": {"deep": [1, {"x": 2}]}}]),
        ({"result": A}, "#/result", A),
        ({"result": AB}, "#/result", AB),
        ([{"": 1}], "", [{"": 1}]),
        ([{"n": 10**30}], "", [{"n": 10**30}]),
        ([{"a": 1.5, "b": True, "c": "007"}], "", [{"a": 1.5, "b": True, "c": "007"}]),
    ],
    "envelope": [
        ({"rows": A}, "#/rows", A),
        ({"rows": A, "rowCount": 1}, "#/rows", A),
        ({"data": {"items": AB}}, "#/data/items", AB),
        ({"data": {"items": AB, "next": "c"}, "ok": True}, "#/data/items", AB),
        ({"response": {"body": {"results": A}}}, "#/response/body/results", A),
        ({"anything": A}, "#/anything", A),
        ({"values": A, "warnings": [{"code": 1}]}, "#/values", A),
        ({"Records": A, "total": 1}, "#/Records", A),
        ({"flights": AB * 50, "n": 100}, "#/flights", AB * 50),
        ({"columns": ["a"], "rows": A}, "#/rows", A),
        ({"a/b~c": A}, "#/a~1b~0c", A),
        ({"result": {"rows": A, "n": 1}}, "#/result/rows", A),
    ],
    "columns": [
        ({"columns": ["a", "b"], "rows": [[1, "x"], [2, "y"]]}, "", AB),
        ({"columns": ["a"], "rows": [[1]], "rowCount": 1}, "", A),
        ({"headers": ["a"], "rows": [[1]]}, "", A),
        ({"header": ["a"], "values": [[1]]}, "", A),
        ({"fields": [{"name": "a", "type": "int"}], "records": [[1]]}, "", A),
        ({"columns": [{"column_name": "a"}], "rows": [[1]]}, "", A),
        ({"columns": ["id", "id", ""], "rows": [[1, 2, 3]]}, "", [{"id": 1, "id_2": 2, "column_3": 3}]),
        ({"columns": ["id", "id", "id_2"], "rows": [[1, 2, 3]]}, "", [{"id": 1, "id_3": 2, "id_2": 3}]),
        ({"columns": [0, None, True], "rows": [[1, 2, 3]]}, "", [{"0": 1, "column_2": 2, "True": 3}]),
        ({"columns": [["x", "y"]], "rows": [[1]]}, "", [{"x_y": 1}]),
        ({"result": {"columns": ["a"], "rows": [[1]]}}, "#/result", A),
        ({"data": {"columns": ["a"], "rows": [[[1]]]}, "ok": True}, "#/data", [{"a": [1]}]),
        (
            {"columns": ["d"], "columnTypes": ["DECIMAL(9,2)"], "rows": [["1.50"], [None]]},
            "",
            [{"d": Decimal("1.50")}, {"d": None}],
        ),
        ({"columns": ["v"], "columnTypes": ["VARCHAR"], "rows": [["2026-01-02"]]}, "", [{"v": "2026-01-02"}]),
    ],
    "split": [
        ({"columns": ["a"], "index": [0], "data": [[1]]}, "", A),
        ({"columns": ["a", "b"], "index": [0, 1], "data": [[1, "x"], [2, "y"]]}, "", AB),
        ({"columns": ["a"], "index": ["x"], "data": [[1]]}, "", [{"index": "x", "a": 1}]),
        ({"columns": ["a"], "index": [0.0], "data": [[1]]}, "", [{"index": 0.0, "a": 1}]),
        ({"columns": ["index"], "index": [7], "data": [[1]]}, "", [{"index_2": 7, "index": 1}]),
        ({"columns": ["a"], "data": [[1]]}, "", A),
        ({"name": "n", "columns": ["a"], "index": [0], "data": [[1]]}, "", A),
        ({"columns": [0], "index": [0], "data": [[1]]}, "", [{"0": 1}]),
        ({"columns": ["a", "a"], "index": [0], "data": [[1, 2]]}, "", [{"a": 1, "a_2": 2}]),
        ({"result": {"columns": ["a"], "index": [0], "data": [[1]]}}, "#/result", A),
        ({"columns": ["d"], "index": [1], "data": [["2026-01-02"]]}, "", [{"index": 1, "d": date(2026, 1, 2)}]),
    ],
    "geojson": [
        ({"type": "FeatureCollection", "features": [feature()]}, "", [{"n": 1, "geometry": POINT}]),
        ([feature(), feature()], "", [{"n": 1, "geometry": POINT}] * 2),
        ([feature(id=7)], "", [{"id": 7, "n": 1, "geometry": POINT}]),
        ([feature(geometry=None)], "", [{"n": 1, "geometry": None}]),
        ([feature(properties=None)], "", [{"geometry": POINT}]),
        ([feature(properties={})], "", [{"geometry": POINT}]),
        ([feature(bbox=[1, 2, 3, 4])], "", [{"n": 1, "bbox": [1, 2, 3, 4], "geometry": POINT}]),
        ([feature(properties={"geometry": "x"})], "", [{"geometry": "x", "geometry_2": POINT}]),
        ([feature(n=2)], "", [{"n": 1, "n_2": 2, "geometry": POINT}]),
        (
            [feature(), feature(properties={"a": 1}, n=2)],
            "",
            [{"n": 1, "geometry": POINT}, {"a": 1, "n_2": 2, "geometry": POINT}],
        ),
        ([feature(id=1, properties={"id": 2})], "", [{"id_2": 1, "id": 2, "geometry": POINT}]),
        ({"result": {"type": "FeatureCollection", "features": [feature()]}}, "#/result", [{"n": 1, "geometry": POINT}]),
        (
            {"ok": True, "data": {"type": "FeatureCollection", "features": [feature()]}},
            "#/data",
            [{"n": 1, "geometry": POINT}],
        ),
    ],
    "scalars": [
        ([1, 2], "", [{"value": 1}, {"value": 2}]),
        (["a"], "", [{"value": "a"}]),
        ([True, False], "", [{"value": True}, {"value": False}]),
        ([1, None], "", [{"value": 1}, {"value": None}]),
        ([1.5, "x"], "", [{"value": 1.5}, {"value": "x"}]),
        ({"result": ["a"]}, "#/result", [{"value": "a"}]),
        ({"result": [1]}, "#/result", [{"value": 1}]),
        ({"files": ["a", "b"]}, "#/files", [{"value": "a"}, {"value": "b"}]),
        (["2026-01-02"], "", [{"value": date(2026, 1, 2)}]),
        (["007", "008"], "", [{"value": "007"}, {"value": "008"}]),
    ],
    "tuples": [
        ([[1, "a"], [2, "b"]], "", [{"column_1": 1, "column_2": "a"}, {"column_1": 2, "column_2": "b"}]),
        ({"result": [[1, 2], [3, 4]]}, "#/result", [{"column_1": 1, "column_2": 2}, {"column_1": 3, "column_2": 4}]),
        ([[None, 1], [2, 3]], "", [{"column_1": None, "column_2": 1}, {"column_1": 2, "column_2": 3}]),
        ({"data": [[1, 2], [3, 4]]}, "#/data", [{"column_1": 1, "column_2": 2}, {"column_1": 3, "column_2": 4}]),
    ],
    "pandas-table": [],
}


def pandas_table(kind: str, *values: Any, **more: Any) -> dict[str, Any]:
    schema = {"fields": [{"name": "i", "type": "integer"}, {"name": "v", "type": kind}], "pandas_version": "1.4.0"}
    rows = [{"i": place, "v": value} for place, value in enumerate(values)]
    return {"schema": schema | more, "data": rows}


VALUES["pandas-table"] = [
    (pandas_table(kind, text), "", [{"i": 0, "v": value}])
    for kind, text, value in (
        ("integer", 7, 7),
        ("number", 7.5, 7.5),
        ("boolean", True, True),
        ("string", "2026-01-02", "2026-01-02"),
        ("datetime", "2026-01-02T03:04:05.000Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("datetime", "2026-01-02T03:04:05.123456", datetime(2026, 1, 2, 3, 4, 5, 123456)),
        ("datetime", "2026-01-02T03:04:05.123456789", "2026-01-02T03:04:05.123456789"),
        ("datetime", None, None),
        ("duration", "P1DT2H3M4.5S", timedelta(days=1, hours=2, minutes=3, seconds=4.5)),
        ("duration", "-P1DT0H0M0S", timedelta(days=-1)),
        ("any", {"x": 1}, {"x": 1}),
    )
]

TEXTS: dict[str, list[tuple[str, list[dict[str, Any]]]]] = {
    "ndjson": [
        ('{"a":1}\n{"a":2}', [{"a": 1}, {"a": 2}]),
        ('{"a":1}\n{"a":2}\n', [{"a": 1}, {"a": 2}]),
        ('{"a":1}\r\n{"a":2}\r\n', [{"a": 1}, {"a": 2}]),
        ('{"a":1}\n\n{"a":2}\n\n', [{"a": 1}, {"a": 2}]),
        ('\n{"a":1}\n{"b":2}', [{"a": 1}, {"b": 2}]),
        ('\ufeff{"a":1}\n{"a":2}', [{"a": 1}, {"a": 2}]),
        ('  {"a": [1, {"b": 2}]}\n{"a": []}', [{"a": [1, {"b": 2}]}, {"a": []}]),
        ('{"a":"x\\ny"}\n{"a":"\\u2028"}', [{"a": "x\ny"}, {"a": "\u2028"}]),
        ('{"t":"2026-01-02"}\n{"t":"2026-01-03"}', [{"t": date(2026, 1, 2)}, {"t": date(2026, 1, 3)}]),
        ('{"n":123456789012345678901234567890}\n{}', [{"n": 123456789012345678901234567890}, {}]),
    ],
    "csv": [
        ("a,b\n1,x\n2,y", AB),
        ("a,b\r\n1,x\r\n2,y\r\n", AB),
        ("\ufeffa,b\n1,x\n2,y\n\n", AB),
        ('a,b\n1,"x"\n2,"y"\n', AB),
        ('a,b\n1,"x, y"\n2,"z ""w"""\n', [{"a": 1, "b": "x, y"}, {"a": 2, "b": 'z "w"'}]),
        ('a,b\n1,"x\ny"\n2,z\n', [{"a": 1, "b": "x\ny"}, {"a": 2, "b": "z"}]),
        ("id,First Name\n1,\n2,Ann\n", [{"id": 1, "First Name": ""}, {"id": 2, "First Name": "Ann"}]),
        (
            "zip,price (€)\n01234,1.50\n98765,2.25\n",
            [{"zip": "01234", "price (€)": 1.5}, {"zip": "98765", "price (€)": 2.25}],
        ),
        ("name,city\nAnn,Paris\nBob,Rome\n", [{"name": "Ann", "city": "Paris"}, {"name": "Bob", "city": "Rome"}]),
        ("mail,n\na@x.com,\nb@x.com,\n", [{"mail": "a@x.com", "n": None}, {"mail": "b@x.com", "n": None}]),
        (f"a,b\n1,{'x' * 100_000}\n2,y\n", [{"a": 1, "b": "x" * 100_000}, {"a": 2, "b": "y"}]),
        ('a,b\n1,"' + "x\n" * 50_000 + '"\n2,y\n', [{"a": 1, "b": "x\n" * 50_000}, {"a": 2, "b": "y"}]),
    ],
    "tsv": [
        ("a\tb\n1\tx\n2\ty", AB),
        ("a\tb\r\n1\tx\r\n2\ty\r\n", AB),
        ("\ufeffa\tb\n1\tx\n2\ty\n", AB),
        ("a\tb\n1\tx, y\n2\tz\n", [{"a": 1, "b": "x, y"}, {"a": 2, "b": "z"}]),
        ("id\tok\n1\ttrue\n2\tfalse\n", [{"id": 1, "ok": True}, {"id": 2, "ok": False}]),
        ("a\tb\tc\n1\t\t\n2\t\tx\n", [{"a": 1, "b": None, "c": ""}, {"a": 2, "b": None, "c": "x"}]),
        (
            "name\tcity\nAnn\tNew York\nBob\tRome\n",
            [{"name": "Ann", "city": "New York"}, {"name": "Bob", "city": "Rome"}],
        ),
        ("t\tn\n03:04:05\t1\n23:59:59\t2\n", [{"t": time(3, 4, 5), "n": 1}, {"t": time(23, 59, 59), "n": 2}]),
        ('a\tb\n1\t"x\ty"\n2\tz\n', [{"a": 1, "b": "x\ty"}, {"a": 2, "b": "z"}]),
        ("größe\tname\n1\tÄ\n2\tÖ\n", [{"größe": 1, "name": "Ä"}, {"größe": 2, "name": "Ö"}]),
    ],
    "markdown": [
        ("| a | b |\n|---|---|\n| 1 | x |\n| 2 | y |", AB),
        ("| a | b |\r\n|---|---|\r\n| 1 | x |\r\n| 2 | y |\r\n", AB),
        ("\n\na | b\n--|--\n1 | x\n2 | y\n\n", AB),
        ("|a|b|\n|:-|-:|\n|1|x|\n|2|y|\n", AB),
        ("|a|\n|-|\n|1|", A),
        ("| a | b |\n|---|:-:|\n| 1 | x \\| y |", [{"a": 1, "b": "x | y"}]),
        ("|  | b |\n|--|--|\n| r | 1 |", [{"column_1": "r", "b": 1}]),
        ("| a | a |\n|---|---|\n| 1 | 2 |", [{"a": 1, "a_2": 2}]),
        ("| a | b |\n|---|---|\n| 1 |  |\n| 2 |  |", [{"a": 1, "b": None}, {"a": 2, "b": None}]),
        ("| t |\n|---|\n| 2026-01-02 03:04:05Z |", [{"t": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)}]),
    ],
    "repr": [
        ("[(1, 'x'), (2, 'y')]", [{"column_1": 1, "column_2": "x"}, {"column_1": 2, "column_2": "y"}]),
        ("[(1,), (2,)]\n", [{"column_1": 1}, {"column_1": 2}]),
        ("[{'a': 1, 'b': 'x'}, {'a': 2, 'b': 'y'}]", AB),
        ("[{'a': None}, {'b': True}]", [{"a": None}, {"b": True}]),
        ("[{'a': \"it's\", 'b': 'a\\'b\"\\n\\xe9'}]", [{"a": "it's", "b": "a'b\"\né"}]),
        ("[{'a': b'\\x00\\xff', 'b': -1.5e-07}]", [{"a": b"\x00\xff", "b": -1.5e-07}]),
        ("[{'a': (1, [2, {'x': 3}])}]", [{"a": [1, [2, {"x": 3}]]}]),
        ("[{'a': inf, 'b': -inf, 'c': None}]", [{"a": float("inf"), "b": float("-inf"), "c": None}]),
        (
            "[(Decimal('1.50'), datetime.date(2026, 1, 2))]",
            [{"column_1": Decimal("1.50"), "column_2": date(2026, 1, 2)}],
        ),
        (
            "[{'t': datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.timezone.utc)}]",
            [{"t": datetime(2026, 1, 2, 3, 4, tzinfo=UTC)}],
        ),
        (
            "[{'t': datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.timezone(datetime.timedelta(seconds=3600)))}]",
            [{"t": datetime(2026, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=1)))}],
        ),
        ("[{'u': UUID('00000000-0000-0000-0000-000000000000'), 'x': np.float64(1.5)}]", [{"u": NIL, "x": 1.5}]),
        ("[RealDictRow([('a', 1)]), OrderedDict({'a': 2})]", [{"a": 1}, {"a": 2}]),
        ("[{'d': '2026-01-02'}]", [{"d": date(2026, 1, 2)}]),
    ],
    "fence rows": [
        ('```json\n[{"a": 1}]\n```', A),
        ('\n```\n[{"a": 1}]\n```\n', A),
        ('~~~json\n[{"a": 1}]\n~~~', A),
        ('````json\r\n[{"a": 1}]\r\n````\r\n', A),
        ('```json title="x"\n[\n  {"a": 1}\n]\n```', A),
    ],
    "fence csv": [("```csv\na,b\n1,x\n2,y\n```", AB), ("```\na,b\n1,x\n2,y\n\n```", AB)],
    "fence ndjson": [('```\n{"a":1}\n{"a":2}\n```', [{"a": 1}, {"a": 2}])],
    "fence markdown": [("```markdown\n|a|\n|-|\n|1|\n```", A)],
    "fence repr": [("```python\n[{'a': 1}]\n```", A)],
    "wrapped csv": [
        ('{"content": "a,b\\n1,x\\n2,y"}', AB),
        ('{"result": "a,b\\n1,x\\n2,y", "ok": true}', AB),
        ('{"stdout": "a,b\\n1,x\\n2,y", "exit_code": 0, "path": "t.csv"}', AB),
        ('{"anything": "a,b\\n1,x\\n2,y"}', AB),
    ],
    "wrapped rows": [('{"result": "[{\\"a\\": 1}]"}', A), ('{"content": "[{\\"a\\": 1}]", "n": 1}', A)],
    "wrapped ndjson": [('{"text": "{\\"a\\":1}\\n{\\"a\\":2}"}', [{"a": 1}, {"a": 2}])],
    "wrapped repr": [('{"result": "[{\'a\': 1}]"}', A)],
    "wrapped markdown": [('{"markdown": "|a|\\n|-|\\n|1|"}', A)],
    "wrapped fence rows": [('{"text": "```json\\n[{\\"a\\": 1}]\\n```"}', A)],
}
CASES = [(kind, value, path, rows) for kind, cases in VALUES.items() for value, path, rows in cases]
TEXT_CASES = [(kind, text, rows) for kind, cases in TEXTS.items() for text, rows in cases]


@pytest.mark.parametrize(("kind", "value", "path", "rows"), CASES)
def test_a_value_is_the_table_that_it_is(kind: str, value: Any, path: str, rows: list[dict[str, Any]]) -> None:
    found = recognise_value(value)
    assert found is not None
    assert (found.kind, found.path, found.rows) == (kind, path, rows)
    assert set(found.columns) == {name for row in rows for name in row}


@pytest.mark.parametrize(("kind", "value", "path", "rows"), CASES)
def test_the_text_of_a_value_is_the_same_table(kind: str, value: Any, path: str, rows: list[dict[str, Any]]) -> None:
    text = json.dumps(value, indent=1)
    found = recognise_text(text)
    assert isinstance(found, Table)
    assert (found.kind, found.path, found.rows) == (kind, f"text{path}", rows)
    assert found.source is not None and found.source.raw == text.encode()
    assert found.source.media_type == "application/json"


@pytest.mark.parametrize(("kind", "text", "rows"), TEXT_CASES)
def test_a_text_is_the_table_that_it_is(kind: str, text: str, rows: list[dict[str, Any]]) -> None:
    found = recognise_text(text)
    assert isinstance(found, Table)
    assert (found.kind, found.rows) == (kind, rows)
    assert [type(value) for row in found.rows for value in row.values()] == [
        type(v) for row in rows for v in row.values()
    ]
    assert found.source is not None and found.source.raw == text.encode()


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        ({"rows": A, "rowCount": 1, "next": None}, {"rowCount": 1, "next": None}),
        ({"data": {"items": A, "next": "c"}, "ok": True}, {"ok": True, "data": {"next": "c"}}),
        ({"columns": ["a"], "rows": [[1]], "took": 3}, {"took": 3}),
        ({"columns": [{"name": "a", "unit": "m"}], "rows": [[1]]}, {"columns": [{"name": "a", "unit": "m"}]}),
        ({"type": "FeatureCollection", "name": "n", "features": [feature()]}, {"name": "n"}),
        (pandas_table("string", "x", primaryKey=["i"]), {"primaryKey": ["i"]}),
        ({"name": "n", "columns": ["a"], "data": [[1]]}, {"name": "n"}),
        ({"n": 5, "data": {"columns": ["a"], "rows": [[1]], "n": 2}}, {"n": 2, "n_2": 5}),
        ({"n": 5, "content": '{"rows": [{"a": 1}], "n": 2}'}, {"n": 2, "n_2": 5}),
        ({"content": "a,b\n1,x\n2,y", "lines": 3}, {"lines": 3}),
    ],
)
def test_small_members_beside_a_table_are_kept(value: Any, fields: dict[str, Any]) -> None:
    found = recognise_value(value)
    assert found is not None and found.fields == fields


def test_the_largest_table_of_a_page_is_taken_on_request() -> None:
    page = (
        "<html><script>if (a<b) '<table>'</script><!-- <table><tr><td>x</table> -->"
        "<table><tr><td>menu</td></tr></table>"
        "<TABLE class='t' data-x=\"a > b\"><thead><tr><th>id<th>na&amp;me</thead><tr><td>1<td> x <b>y</b></tr>"
        "<tr><td>2</td><td>z<br>w</td></tr></TABLE>"
    )
    found = recognise_text(page, shape="html")
    assert isinstance(found, Table)
    assert (found.kind, found.path) == ("html", "text table 2 of 2")
    assert found.rows == [{"id": 1, "na&me": "x y"}, {"id": 2, "na&me": "z w"}]
    assert not isinstance(recognise_text(page), Table)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("<tr><th>a<th>b<tr><td colspan=2>x", [{"a": "x", "b": "x"}]),
        ("<tr><th>a<th>b<tr><td rowspan=2>x<td>1<tr><td>2", [{"a": "x", "b": 1}, {"a": "x", "b": 2}]),
        ("<tr><th>a<th>b<tr><td>1", [{"a": 1, "b": None}]),
        ("<tr><th>a<th>a<tr><td>1<td>2", [{"a": 1, "a_2": 2}]),
        ("<caption>c</caption><tr><th>a</th></tr><tr><td>1 &lt; 2</td></tr>", [{"a": "1 < 2"}]),
        ("<th>a<tr><td>1", [{"a": 1}]),
        ("<tr><th>a<tr><td>x<table><tr><td>in</table>y", [{"a": "xy"}]),
        ("<tr><th>a<tr><td>007<tr><td>1", [{"a": "007"}, {"a": "1"}]),
        ("<tr><th title='<td>'>a<tr><td>1", [{"a": 1}]),
        ("<tr><th>a<tr><td>5 < 6<tr><td>x</y>z", [{"a": "5 < 6"}, {"a": "xz"}]),
    ],
)
def test_cells_of_html(rows: str, expected: list[dict[str, Any]]) -> None:
    found = recognise_text(f"<table>{rows}</table>", shape="html")
    assert isinstance(found, Table) and found.rows == expected
