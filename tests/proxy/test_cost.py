"""What the proxy costs in tokens: its tools in every session, and a result of any width (docs/proxy.md#cost)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from broker_plane.proxy.tool_listing import Consumer, Tools
from broker_plane.reading.tokens import tokens_of
from tests.figures import Figure
from tests.proxy.test_reading import EMPTY, Scripted, shape_of, text

FLIGHT = {
    f"{word}_{place}": value
    for place in ("departure", "arrival", "origin")
    for word, value in (("time", "2013-01-01T05:15:00"), ("delay", -4), ("airport", "JFK"), ("gate", None),
                        ("carrier", "United Airlines"), ("distance", 1400.5))
}  # fmt: skip
"""18 columns."""
LARGE = 100_000


def rows(count: int, row: dict[str, Any]) -> list[dict[str, Any]]:
    return [{name: f"{value} {number}" if isinstance(value, str) else value for name, value in row.items()}
            for number in range(count)]  # fmt: skip


def structured(value: Any) -> str:
    return json.dumps({"content": [], "structuredContent": value})


RESULTS = {
    "18 columns": structured({"result": rows(1_000, FLIGHT)}),
    "3 columns": structured({"result": rows(5_000, {"id": 1, "kind": "k", "text": "t" * 40})}),
    "3,000 columns": structured({"result": rows(4, {f"measurement number {number}": 1.5 for number in range(3_000)})}),
    "long names and values": structured(
        {"result": rows(60, {"n" * 200 + str(number): "v" * 90 for number in range(30)})}
    ),
    "text": text("One line of a long log, as servers write them.\n" * 2_000),
    "JSON": structured({"pages": {str(number): {"title": "t" * 50} for number in range(2_000)}}),
    "fields": structured({"rows": rows(2_000, {"id": 1, "text": "t" * 40}), "note": "n" * 3_000, "next": "page 2"}),
}
MOST = {"18 columns": 750, "3 columns": 300, "text": 400, "JSON": 400}
"""Tokens of the text block; every other result has fewer than `ANY`."""
ANY = 1_000


@pytest.fixture(scope="module")
def client(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scripted]:
    script = {"tools": [{"name": "any", "inputSchema": EMPTY}], "results": RESULTS}
    with closing(Scripted(environment, tmp_path_factory.mktemp("cost"), script)) as started:
        yield started


def test_an_offloaded_result_costs_little_whatever_its_width(client: Scripted, figure: Figure) -> None:
    seen = {}
    for name in RESULTS:
        answer = client.call(name)["result"]
        assert shape_of({"result": answer})["resource_url"]
        seen[name] = tokens_of(answer["content"][0]["text"])
    figure("tokens of an offloaded result", str(seen), aim=f"fewer than {ANY}", met=max(seen.values()) < ANY)
    for name, tokens in seen.items():
        assert tokens <= MOST.get(name, ANY), (name, tokens)


def test_the_tools_cost_little(client: Scripted, figure: Figure) -> None:
    tools = client.ask("tools/list")["result"]["tools"]
    given = {tool["name"]: {name: tool[name] for name in ("name", "description", "inputSchema")} for tool in tools[1:]}
    seen = {name: tokens_of(json.dumps(tool, separators=(",", ":"))) for name, tool in given.items()}
    figure("tokens of the reading tools", str(seen), aim="at most 360", met=sum(seen.values()) <= 360)
    assert sum(seen.values()) <= 360


def test_what_is_added_to_a_tool_of_the_server_costs_little() -> None:
    tool = {"name": "query", "description": "Runs SQL.", "inputSchema": {"type": "object", "properties": {"sql": {}}}}

    def cost(tools: Tools) -> int:
        return tokens_of(json.dumps(tools.listed(tool))) - tokens_of(json.dumps(tool))

    assert cost(Tools(tables={"query"})) <= 85
    assert cost(Tools({"query": Consumer("query", "sql")})) <= 75
    tool["inputSchema"] = {"type": "object", "properties": {"sql": {"type": "string"}}}
    assert cost(Tools({"query": Consumer("query", "sql")})) <= 80
