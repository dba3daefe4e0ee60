"""Output schemas behind the proxy: valid, true of the tool's own results and of ours, every pointer where it leads."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for

from broker_plane.proxy.tool_listing import Tools
from broker_plane.tools.schemas import hidden_members, widened

D7 = "http://json-schema.org/draft-07/schema#"
D20 = "https://json-schema.org/draft/2020-12/schema"
POINT = {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}


def of(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": sorted(properties), **more}


CASES: dict[str, tuple[dict[str, Any], Any, Any]] = {
    # a schema, a result that it takes, and one that it refuses
    "pointer to a property": (of({"a": POINT, "b": {"$ref": "#/properties/a"}}), {"a": {"x": 1}, "b": {"x": 2}},
                              {"a": {"x": 1}, "b": {"x": "no"}}),
    "pointer into a property": (of({"a": POINT, "b": {"$ref": "#/properties/a/properties/x"}}),
                                {"a": {"x": 1}, "b": 2}, {"a": {"x": 1}, "b": "no"}),
    "pointer to items": (of({"a": {"type": "array", "items": POINT}, "b": {"$ref": "#/properties/a/items"}}),
                         {"a": [], "b": {"x": 1}}, {"a": [], "b": {}}),
    "the root itself": ({"type": "object", "properties": {"n": {"type": "integer"}, "next": {"$ref": "#"}},
                         "required": ["n"]}, {"n": 1, "next": {"n": 2}}, {"n": 1, "next": {"n": "no"}}),
    "an anchor": (of({"a": {"$anchor": "here", **POINT}, "b": {"$ref": "#here"}}), {"a": {"x": 1}, "b": {"x": 1}},
                  {"a": {"x": 1}, "b": {}}),
    "an anchor of the root": ({"$anchor": "root", "type": "object", "required": ["n"],
                               "properties": {"n": {"type": "integer"}, "next": {"$ref": "#root"}}},
                              {"n": 1, "next": {"n": 2}}, {"n": 1, "next": {"n": "no"}}),
    "$defs": (of({"a": {"$ref": "#/$defs/P"}}, **{"$defs": {"P": POINT}}), {"a": {"x": 1}}, {"a": {}}),
    "definitions": (of({"a": {"$ref": "#/definitions/P"}}, **{"$schema": D7, "definitions": {"P": POINT}}),
                    {"a": {"x": 1}}, {"a": {}}),
    "$id": (of({"a": POINT, "b": {"$ref": "https://e.x/s#/properties/a"}}, **{"$id": "https://e.x/s", "$schema": D20}),
            {"a": {"x": 1}, "b": {"x": 1}}, {"a": {"x": 1}, "b": {}}),
    "draft-07 and $id": (of({"a": POINT, "b": {"$ref": "#/properties/a"}}, **{"$id": "https://e.x/7", "$schema": D7}),
                         {"a": {"x": 1}, "b": {"x": 1}}, {"a": {"x": 1}, "b": {}}),
    "nothing else": (of({"a": {"type": "string"}}, additionalProperties=False), {"a": "b"}, {"a": "b", "c": 1}),
    "others of a type": ({"type": "object", "additionalProperties": {"type": "integer"}}, {"a": 1}, {"a": "b"}),
    "nothing unevaluated": (of({"a": {"type": "string"}}, unevaluatedProperties=False), {"a": "b"}, {"a": "b", "c": 1}),
    "names": ({"type": "object", "propertyNames": {"pattern": "^k"}}, {"k1": 1}, {"x": 1}),
    "a reference at the root": ({"$ref": "#/$defs/P", "$defs": {"P": POINT}, "type": "object"}, {"x": 1}, {"x": "a"}),
    "alternatives at the root": ({"type": "object", "anyOf": [POINT, {"required": ["y"]}]}, {"y": 1}, {"z": 1}),
    "a pointer into alternatives": (
        {"type": "object", "oneOf": [of({"a": POINT}), of({"b": {"$ref": "#/oneOf/0/properties/a"}})]},
        {"b": {"x": 1}}, {"b": {"x": "no"}}),
    "allOf": ({"type": "object", "allOf": [of({"a": POINT}), of({"b": {"$ref": "#/allOf/0/properties/a"}})]},
              {"a": {"x": 1}, "b": {"x": 1}}, {"a": {"x": 1}, "b": {}}),
    "a condition": ({"type": "object", "if": {"required": ["a"]}, "then": {"required": ["b"]}}, {"a": 1, "b": 2},
                    {"a": 1}),
    "not": ({"type": "object", "not": {"required": ["bad"]}}, {"good": 1}, {"bad": 1}),
    "a pattern": ({"type": "object", "patternProperties": {"^n_": {"type": "integer"}}, "minProperties": 1},
                  {"n_a": 1}, {"n_a": "b"}),
    "members of our names": (of({"size": {"type": "string"}, "body": {"type": "string"}}),
                             {"size": "XL", "body": "x"}, {"size": 1, "body": "x"}),
    "a pattern of our names": ({"type": "object", "patternProperties": {"^[a-z]+$": {"type": "integer"}},
                                "required": ["n"]}, {"n": 1}, {"n": "x"}),
    "data that looks like a pointer": (
        {"type": "object", "allOf": [{"properties": {"a": {"enum": [{"$ref": "#/allOf/0"}]}}}]},
        {"a": {"$ref": "#/allOf/0"}}, {"a": {"$ref": "#/anyOf/0/allOf/0"}}),
    "an array": ({"type": "array", "items": POINT}, [{"x": 1}], [{}]),
    "a value": ({"type": "integer"}, 3, "x"),
    "one of some": ({"enum": ["a", "b"]}, "a", "c"),
    "wrapped for FastMCP": (of({"result": {"type": "integer"}}, **{"x-fastmcp-wrap-result": True}), {"result": 1},
                            {"result": "x"}),
}  # fmt: skip
SHAPE = {
    "total_rows": 9, "columns": ["a"], "abstract_domains": [], "body_domains": ["a"], "abstract": [], "summary": {},
    "abstract_truncated": True, "resource_url": "http://127.0.0.1/s2sp/data/x",
}  # fmt: skip
TEXT = {"size": 9, "media_type": "text/plain", "digest": "sha256:x", "preview": "", "resource_url": "http://x/y"}
SYNC = {"total_rows": 9, "columns": ["a"], "abstract_domains": ["a"], "body_domains": [], "abstract": [], "body": []}


def takes(schema: dict[str, Any], value: Any) -> bool:
    kind = validator_for(schema, default=Draft202012Validator)
    kind.check_schema(schema)
    return bool(kind(schema).is_valid(value))


@pytest.mark.parametrize("name", CASES)
def test_a_widened_schema_is_valid_and_takes_its_own_results_and_ours(name: str) -> None:
    schema, own, wrong = CASES[name]
    assert takes(schema, own) and not takes(schema, wrong)
    seen = widened(schema)
    assert takes(seen, own)
    assert not takes(seen, wrong)
    for ours in (SHAPE, TEXT, SYNC):
        shown = {key: value for key, value in ours.items() if key not in hidden_members(schema)}
        assert takes(seen, shown), ours


@pytest.mark.parametrize("name", CASES)
def test_a_schema_that_was_widened_twice_takes_the_same(name: str) -> None:
    schema, own, wrong = CASES[name]
    twice = widened(widened(schema))
    assert takes(twice, own) and not takes(twice, wrong)


@pytest.mark.parametrize("name", CASES)
def test_what_clients_make_types_of_stays_at_the_root(name: str) -> None:
    schema = CASES[name][0]
    seen = widened(schema)
    for word in ("properties", "additionalProperties", "$defs", "definitions", "$id", "$schema", "$anchor", "title"):
        assert seen.get(word) == schema.get(word)
    assert seen.get("x-fastmcp-wrap-result") == schema.get("x-fastmcp-wrap-result")
    assert schema.get("type") != "object" or seen["type"] == "object"


@pytest.mark.parametrize(
    "tool",
    [
        {"inputSchema": {"properties": {"abstract_domains": {"type": "string"}}}},
        {"inputSchema": {"properties": {"resource_url": {"type": "string"}}}},
        {"inputSchema": {}, "outputSchema": {"type": "object", "properties": {"resource_url": {}}, "required": ["a"]}},
    ],
)
def test_a_tool_that_speaks_the_plane_s_language_is_left_alone(tool: dict[str, Any]) -> None:
    tools = Tools()
    given = {"name": "t", "outputSchema": of({"result": {"type": "array", "items": {"type": "object"}}}), **tool}
    assert tools.listed(given) == given
    assert tools.own == {"t"}
