"""A whole tool result: texts, structured content, wrappers around a text, and what is beside a table."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker_plane.shapes.recognise import Opaque, Table, is_table_schema, recognise
from broker_plane.shapes.results import texts_of

ROWS = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
CSV, JSON_ROWS = "a,b\n1,x\n2,y\n", json.dumps(ROWS)
COLUMNS = json.dumps({"success": True, "columns": ["a", "b"], "rows": [[1, "x"], [2, "y"]], "rowCount": 2}, indent=2)
PLAIN, JSON = "text/plain; charset=utf-8", "application/json"


def result(*texts: str, **members: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text} for text in texts], **members}


TABLES = {
    "structured rows": (result(structuredContent={"result": ROWS}), "rows", "structuredContent#/result", None, {}),
    "rows in both": (
        result(JSON_ROWS, structuredContent={"result": ROWS}), "rows", "structuredContent#/result", None, {}
    ),
    "rows as text": (result(JSON_ROWS), "rows", "text", JSON_ROWS, {}),
    "a row a block": (result(*map(json.dumps, ROWS)), "rows", "content", None, {}),
    "a wrapped CSV": (
        result(CSV, structuredContent={"content": CSV, "n": 1}), "wrapped csv", "structuredContent#/content", CSV,
        {"n": 1},
    ),
    "a wrapped CSV alone": (
        result(structuredContent={"result": CSV}), "wrapped csv", "structuredContent#/result", CSV, {}
    ),
    "mcp-server-motherduck": (
        result(COLUMNS, structuredContent={"result": COLUMNS}), "wrapped columns", "structuredContent#/result", COLUMNS,
        {"success": True, "rowCount": 2},
    ),
    "mcp-server-sqlite": (result(str(ROWS)), "repr", "text", str(ROWS), {}),
    "a tree of files": (
        result(JSON_ROWS, structuredContent={"content": JSON_ROWS}), "wrapped rows", "structuredContent#/content",
        JSON_ROWS, {},
    ),
    "an envelope": (
        result(structuredContent={"rows": ROWS, "count": 2}), "envelope", "structuredContent#/rows",
        '{"rows":[{"a":1,"b":"x"},{"a":2,"b":"y"}],"count":2}', {"count": 2},
    ),
    "an envelope and words": (
        result("2 rows", structuredContent={"rows": ROWS}), "envelope", "structuredContent#/rows",
        '{"rows":[{"a":1,"b":"x"},{"a":2,"b":"y"}]}', {"text": "2 rows"},
    ),
    "a table in the text only": (
        result(CSV, structuredContent={"ok": True}), "csv", "text", CSV, {"ok": True}
    ),
    "a text as structured content": (
        result(CSV, structuredContent=CSV), "wrapped csv", "structuredContent", CSV, {}
    ),
    "output beside its code": (
        result(structuredContent={"stdout": CSV, "exit_code": 0}), "wrapped csv", "structuredContent#/stdout", CSV,
        {"exit_code": 0},
    ),
    "both have a count": (
        result(COLUMNS, structuredContent={"result": COLUMNS, "rowCount": 7}), "wrapped columns",
        "structuredContent#/result", COLUMNS, {"success": True, "rowCount": 2, "rowCount_2": 7},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_a_table_with_its_place_its_source_and_the_rest(name: str) -> None:
    given, kind, path, source, fields = TABLES[name]
    before = json.dumps(given)
    found = recognise(given)
    assert isinstance(found, Table)
    assert (found.kind, found.path, found.fields, found.rows) == (kind, path, fields, ROWS)
    assert (None if found.source is None else found.source.raw.decode()) == source
    assert json.dumps(given) == before


OPAQUE: dict[str, tuple[dict[str, Any], str, str, str, dict[str, Any]]] = {
    "a text": (result("hello"), "hello", PLAIN, "text", {}),
    "two texts": (result("a", "b"), "a\nb", PLAIN, "text", {}),
    "a wrapped text": (result("hi", structuredContent={"result": "hi"}), "hi", PLAIN, "structuredContent#/result", {}),
    "a wrapped text alone": (result(structuredContent={"x": "hi"}), "hi", PLAIN, "structuredContent#/x", {}),
    "wrapped JSON": (
        result('{"n": 1.10}', structuredContent={"content": '{"n": 1.10}'}), '{"n": 1.10}', JSON,
        "structuredContent#/content", {},
    ),
    "JSON in both": (result('{ "n": 1 }', structuredContent={"n": 1}), '{ "n": 1 }', JSON, "text", {}),
    "an object": (result(structuredContent={"n": {"m": 1}}), '{"n":{"m":1}}', JSON, "structuredContent", {}),
    "a large object and words": (
        result("done", structuredContent={"n": ["x"], "m": {"l": "y"}}), '{"n":["x"],"m":{"l":"y"}}', JSON,
        "structuredContent", {"text": "done"},
    ),
    "a large text and facts": (
        result("x" * 100, structuredContent={"ok": True}), "x" * 100, PLAIN, "text", {"ok": True}
    ),
    "many words beside the text": (
        result("hi", structuredContent={"content": "hi", "log": "y" * 20_000}),
        json.dumps({"content": "hi", "log": "y" * 20_000}, separators=(",", ":")), JSON, "structuredContent",
        {"text": "hi"},
    ),
    "a document": (
        result(structuredContent={"title": "t", "body": CSV * 2 + "end", "tags": []}),
        json.dumps({"title": "t", "body": CSV * 2 + "end", "tags": []}, separators=(",", ":")), JSON,
        "structuredContent", {},
    ),
    "an error": (result(JSON_ROWS, isError=True), JSON_ROWS, JSON, "text", {}),
    "null": (
        result("null", structuredContent={"result": None}), '{"result":null}', JSON, "structuredContent",
        {"text": "null"},
    ),
    "nothing": ({}, "", PLAIN, "text", {}),
    "content that is none": ({"content": 7}, "", PLAIN, "text", {}),
    "blocks that are none": ({"content": [7, {"type": "text"}, {"type": "text", "text": 7}]}, "", PLAIN, "text", {}),
    "a picture": ({"content": [{"type": "image", "data": "AA=="}]}, "", PLAIN, "text", {}),
    "rows and a text": (result(json.dumps(ROWS[0]), "and more"), json.dumps(ROWS[0]) + "\nand more", PLAIN, "text", {}),
}  # fmt: skip


@pytest.mark.parametrize("name", OPAQUE)
def test_anything_else_is_exactly_what_it_was(name: str) -> None:
    given, text, media_type, path, fields = OPAQUE[name]
    assert recognise(given) == Opaque(text.encode(), media_type, fields, path)


def test_only_texts_count() -> None:
    blocks = [{"type": "image", "data": "AA=="}, {"type": "text", "text": "a"}, {"type": "resource", "text": "b"}]
    assert texts_of({"content": blocks}) == ["a"]


OBJECTS = {"type": "array", "items": {"type": "object"}}
TEXT = {"type": "string"}
SCHEMAS: dict[str, tuple[Any, bool]] = {
    "an array": (OBJECTS, True),
    "its only member": ({"type": "object", "properties": {"anything": OBJECTS}}, True),
    "a known member": ({"type": "object", "properties": {"rows": OBJECTS, "count": {"type": "integer"}}}, True),
    "another member": ({"type": "object", "properties": {"roles": OBJECTS, "name": TEXT}}, False),
    "two tables": ({"type": "object", "properties": {"rows": OBJECTS, "items": OBJECTS}}, False),
    "columns and rows": (
        {
            "properties": {
                "columns": {"type": "array", "items": TEXT},
                "rows": {"type": "array", "items": {"type": "array"}},
            }
        },
        True,
    ),
    "a reference": (
        {
            "properties": {"result": {"type": "array", "items": {"$ref": "#/$defs/a~1b"}}},
            "$defs": {"a/b": {"type": "object"}},
        },
        True,
    ),
    "an optional table": ({"properties": {"result": {"anyOf": [OBJECTS, {"type": "null"}]}}}, True),
    "one of two types": ({"properties": {"result": {"anyOf": [OBJECTS, TEXT]}}}, False),
    "a loop": ({"$ref": "#"}, False),
    "a loop of references": ({"$ref": "#/$defs/x", "$defs": {"x": {"$ref": "#/$defs/x"}}}, False),
    "a list of definitions": ({"$ref": "#/$defs/0", "$defs": [OBJECTS]}, True),
    "scalars": ({"type": "array", "items": TEXT}, False),
    "nothing": (None, False),
    "empty": ({}, False),
    "a list": ([], False),
    "malformed": ({"properties": {"rows": 7}}, False),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_output_schemas_of_tables(name: str) -> None:
    schema, expected = SCHEMAS[name]
    assert is_table_schema(schema) is expected
