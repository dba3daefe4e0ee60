"""How the proxy lists a tool: a tool in, the tool that clients see out."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.errors import ConfigError
from broker_plane.proxy.tool_listing import Consumer, Tools, parse_consumer

TABLE = {"type": "array", "items": {"type": "object"}}


def tool(**fields: Any) -> dict[str, Any]:
    return {"name": "t", "inputSchema": {"type": "object", "properties": {"data": {}}, "required": ["data"]}} | fields


SEEN = [
    pytest.param(tool(), Tools(), ["data"], ["data"], id="any tool"),
    pytest.param(tool(outputSchema=TABLE), Tools(), ["data", "abstract_domains", "mode"], ["data"], id="a table"),
    pytest.param(
        tool(), Tools(tables={"t"}), ["data", "abstract_domains", "mode"], ["data"], id="a tool that returned a table"
    ),
    pytest.param(
        tool(), Tools({"t": Consumer("t", "data")}), ["data", "resource_url", "abstract_data"], [], id="a consumer"
    ),
    pytest.param(
        tool(inputSchema={"type": "object", "properties": {"abstract_domains": {}}}, outputSchema=TABLE),
        Tools(),
        ["abstract_domains"],
        [],
        id="a resource tool of ours",
    ),
    pytest.param(tool(inputSchema={"properties": [1]}, outputSchema=TABLE), Tools(), None, None, id="malformed schema"),
    pytest.param({"name": 7}, Tools(), None, None, id="malformed name"),
]


@pytest.mark.parametrize(("given", "tools", "members", "required"), SEEN)
def test_the_arguments_that_clients_see(given: Any, tools: Tools, members: Any, required: Any) -> None:
    seen = tools.listed(given)
    if members is None:
        assert seen is given
        return
    assert list(seen["inputSchema"]["properties"]) == members
    assert seen["inputSchema"].get("required", []) == required


@pytest.mark.parametrize(
    ("schema", "is_said"),
    [
        ({"type": "string"}, True),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, True),
        ({"type": ["string", "array"]}, False),
        ({"type": "string", "contentEncoding": "base64"}, False),
        ({"type": "array"}, False),
        ({}, False),
    ],
)
def test_a_consumer_says_that_its_text_argument_gets_rows_as_json(schema: dict[str, Any], is_said: bool) -> None:
    given = tool(inputSchema={"type": "object", "properties": {"data": schema}})
    seen = Tools({"t": Consumer("t", "data")}).listed(given)["inputSchema"]["properties"]["resource_url"]
    assert seen["description"] == "A resource_url, for data" + ("; rows as JSON" if is_said else "")


def test_a_tool_of_ours_is_left_alone_until_it_changes() -> None:
    tools = Tools()
    own = tool(inputSchema={"type": "object", "properties": {"abstract_domains": {}}})
    assert tools.listed(own) is own
    assert tools.own == {"t"}
    tools.listed(tool())
    assert tools.own == set()


UNMET = [
    pytest.param(
        Tools(shapes={"x": "table"}), ["t"], ["--shape x:table: the server has no tool 'x'; its tools are: t"]
    ),
    pytest.param(
        Tools({"x": Consumer("x", "a")}), [], ["--consumer x:a: the server has no tool 'x'; its tools are: none"]
    ),
    pytest.param(Tools({"t": Consumer("t", "data")}), ["t"], []),
]


@pytest.mark.parametrize(("tools", "names", "said"), UNMET)
def test_names_that_the_server_does_not_have(tools: Tools, names: list[str], said: list[str]) -> None:
    assert list(tools.unmet(names)) == said


def test_an_argument_that_the_tool_does_not_have() -> None:
    tools = Tools({"t": Consumer("t", "rows")})
    tools.listed(tool())
    assert list(tools.unmet(["t"])) == ["--consumer t:rows: the tool has no argument 'rows'; its arguments are: data"]


@pytest.mark.parametrize("text", ["", "t", "t:", ":a"])
def test_consumers_that_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="TOOL:ARGUMENT"):
        parse_consumer(text)


@pytest.mark.parametrize(
    ("output", "typed"),
    [
        ({"properties": {"result": {}, "name": {}}}, True),
        ({"properties": {"result": {}}}, True),
        ({"properties": {"result": {}}, "x-fastmcp-wrap-result": True}, False),
        ({"type": "object"}, False),
    ],
)
def test_a_model_with_a_member_called_result_is_typed(output: dict[str, Any], typed: bool) -> None:
    tools = Tools()
    tools.listed(tool(outputSchema=output))
    assert ("t" in tools.typed) is typed
