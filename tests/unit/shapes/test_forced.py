"""`--shape TOOL:SHAPE`: the user's word comes before the recogniser's, and is an error where it does not fit."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.errors import ConfigError, TabularError
from broker_plane.shapes.recognise import KINDS, Opaque, Table, parse_shape, recognise, recognise_text, recognise_value

WRAPPED = {
    "content": [{"type": "text", "text": "a,b\n1,2"}],
    "structuredContent": {"content": "a,b\n1,2", "lines": 2},
}

FITTING = [
    ("csv", "a,b\n1,2", [{"a": 1, "b": 2}]),
    ("csv", "a\n1\n2", [{"a": 1}, {"a": 2}]),
    ("csv", "a;b\n1;2", [{"a": 1, "b": 2}]),
    ("csv", "Name,City\nAnn,Paris", [{"Name": "Ann", "City": "Paris"}]),
    ("csv", "a,b\n1,2\n\n3\n", [{"a": 1, "b": 2}, {"a": 3, "b": None}]),
    ("csv", "a,b\n", []),
    ("csv", "```\na,b\n1,2\n```", [{"a": 1, "b": 2}]),
    ("csv", '{"content": "a,b\\n1,2", "n": 1}', [{"a": 1, "b": 2}]),
    ("wrapped csv", '{"content": "a,b\\n1,2"}', [{"a": 1, "b": 2}]),
    ("tsv", "2025\t2026\n1\t2", [{"2025": 1, "2026": 2}]),
    ("ndjson", '{"a": 1}', [{"a": 1}]),
    ("markdown", "a|b\n-|-\n1|2", [{"a": 1, "b": 2}]),
    ("repr", "[(1, 2)]", [{"column_1": 1, "column_2": 2}]),
    ("rows", '[{"a": 1}]', [{"a": 1}]),
    ("records", '[{"a": 1}]', [{"a": 1}]),
    ("rows", "[]", []),
    ("scalars", "[]", []),
    ("scalars", "[1]", [{"value": 1}]),
    ("tuples", "[[1, 2], [3, 4]]", [{"column_1": 1, "column_2": 2}, {"column_1": 3, "column_2": 4}]),
    ("envelope", '{"user": 1, "roles": [{"a": 1}]}', [{"a": 1}]),
    ("columns", '{"columns": ["a"], "data": [[1]]}', [{"a": 1}]),
    ("columns", '{"columns": ["a"], "rows": []}', []),
    ("split", '{"columns": ["a"], "data": []}', []),
    ("pandas-table", '{"schema": {"fields": [{"name": "a", "type": "integer"}]}, "data": []}', []),
    ("fence", '```\n[{"a": 1}]\n```', [{"a": 1}]),
    ("wrapped", '{"result": "[{\\"a\\": 1}]"}', [{"a": 1}]),
    ("html", "<table><tr><th>a<tr><td>1</table>", [{"a": 1}]),
    ("table", "Name,City\nAnn,Paris\n", [{"Name": "Ann", "City": "Paris"}]),
    ("table", '{"user": 1, "roles": [{"a": 1}]}', [{"a": 1}]),
    ("geojson", '[{"type": "Feature", "properties": {"a": 1}, "geometry": null}]', [{"a": 1, "geometry": None}]),
]


@pytest.mark.parametrize(("shape", "text", "rows"), FITTING)
def test_a_shape_that_fits_is_taken(shape: str, text: str, rows: list[dict[str, Any]]) -> None:
    found = recognise_text(text, shape=shape)
    assert isinstance(found, Table) and found.rows == rows
    assert found.source is not None and found.source.raw == text.encode()


REFUSED = [
    ("csv", "a,b\n1,2,3", "row 2 has 3 fields, but the header has 2"),
    ("csv", "a,a\n1,2", "more than one column is called 'a'"),
    ("csv", "", "no header"),
    ("csv", 'a,b\n1,"2', "cannot be parsed"),
    ("tsv", "a\tb\n1\t2\t3", "row 2 has 3 fields"),
    ("ndjson", "[1]", "not every line"),
    ("markdown", "text", "line of dashes"),
    ("repr", "[open('x')]", "Python list"),
    ("rows", "{}", "JSON array of objects"),
    ("rows", "text", "not JSON"),
    ("envelope", '{"a": 1}', "no single array"),
    ("columns", '{"columns": ["a"], "rows": [[1, 2]]}', "columns and rows"),
    ("split", "[1]", "columns, index and data"),
    ("pandas-table", "[1]", "schema and data"),
    ("geojson", "[1]", "FeatureCollection"),
    ("scalars", '[{"a": 1}]', "texts, numbers"),
    ("tuples", "[1]", "of one length"),
    ("fence", "text", "code fence"),
    ("wrapped", '[{"a": 1}]', "around a text"),
    ("html", "text", "no table"),
    ("json", "text", "not a JSON"),
]


@pytest.mark.parametrize(("shape", "text", "reason"), REFUSED)
def test_a_shape_that_does_not_fit_is_an_error_that_says_why(shape: str, text: str, reason: str) -> None:
    with pytest.raises(TabularError, match=f"The result is not {shape}: .*{reason}"):
        recognise_text(text, shape=shape)
    with pytest.raises(TabularError, match=reason):
        recognise({"content": [{"type": "text", "text": text}]}, shape=shape)


def test_every_kind_can_be_forced_and_refused() -> None:
    assert {shape.split()[0] for shape, _, _ in FITTING} >= set(KINDS)
    assert {shape for shape, _, _ in REFUSED} >= set(KINDS) - {"records"}


def test_a_value_of_another_kind_is_an_error_too() -> None:
    with pytest.raises(TabularError, match="columns and rows"):
        recognise_value([{"a": 1}], shape="columns")
    with pytest.raises(TabularError, match="JSON array of objects"):
        recognise({"content": [], "structuredContent": {"a": 1}}, shape="rows")


@pytest.mark.parametrize("text", ["a,b\n1,2\n3,4", '[{"a": 1}]', "[(1, 2)]"])
def test_text_is_never_a_table(text: str) -> None:
    assert recognise_text(text, shape="text") == Opaque(text.encode(), "text/plain; charset=utf-8", {}, "text")
    result = {"content": [{"type": "text", "text": text}], "structuredContent": {"content": text, "n": 1}}
    found = recognise(result, shape="text")
    assert found == Opaque(text.encode(), "text/plain; charset=utf-8", {"n": 1}, "structuredContent#/content")


def test_json_is_never_a_table() -> None:
    text = '[ {"a": 1.10} ]'
    assert recognise_text(text, shape="json") == Opaque(text.encode(), "application/json", {}, "text")
    both = {"content": [{"type": "text", "text": text}], "structuredContent": {"rows": [{"a": 1}]}}
    assert recognise(both, shape="json") == Opaque(b'{"rows":[{"a":1}]}', "application/json", {}, "structuredContent")
    assert recognise_value([{"a": 1}], shape="json") is None


def test_table_is_any_table_and_not_an_error() -> None:
    assert isinstance(recognise(WRAPPED, shape="table"), Table)
    assert isinstance(recognise(WRAPPED), Opaque)
    assert isinstance(recognise_text("Query executed.", shape="table"), Opaque)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("read:csv", ("read", "csv")),
        ("a:b:text", ("a:b", "text")),
        ("t:table", ("t", "table")),
        ("t:auto", ("t", "auto")),
        ("t:wrapped csv", ("t", "wrapped csv")),
        ("t:wrapped fence rows", ("t", "wrapped fence rows")),
    ],
)
def test_a_shape_on_the_command_line(text: str, parsed: tuple[str, str]) -> None:
    assert parse_shape(text) == parsed


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("read", "TOOL:SHAPE"),
        (":csv", "TOOL:SHAPE"),
        ("t:", "TOOL:SHAPE"),
        ("t:cvs", "rows, envelope"),
        ("t:x csv", "no shape"),
    ],
)
def test_another_one_is_an_error(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse_shape(text)
    if ":c" in text[1:]:
        with pytest.raises(ConfigError, match="no shape"):
            recognise_text("x", shape="cvs")
