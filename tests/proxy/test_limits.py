"""No result is larger than what the client shows, whichever columns and mode a call names (docs/proxy.md#threshold)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from broker_plane.reading.clients import CLIENTS, UNKNOWN
from tests.proxy.test_reading import EMPTY, Scripted

ROWS = [
    {"id": number, "place": f"Zürich {number % 97}", "kind": f"k{number % 5}", "size": number / 7, "note": "x" * 300}
    for number in range(2_500)
]
WIDE = [{f"measurement number {number}": row for number in range(1_200)} for row in range(40)]
NARROW = "id,place,kind,size"
RESULTS = {
    name: json.dumps({"content": [{"type": "text", "text": json.dumps(rows)}], "structuredContent": {"result": rows}})
    for name, rows in (("rows", ROWS), ("wide", WIDE), ("few", ROWS[:5]))
} | {"prose": json.dumps({"content": [{"type": "text", "text": "x" * 8_100}]})}


@pytest.fixture(scope="module")
def client(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scripted]:
    tools = [
        {"name": name, "inputSchema": EMPTY, "outputSchema": {"type": "object", "properties": {"result": {
            "type": "array", "items": {"type": "object"}}}}}
        for name in ("rows", "wide", "few")
    ]  # fmt: skip
    folder = tmp_path_factory.mktemp("limits")
    with closing(Scripted(environment, folder, {"tools": [*tools, {"name": "prose", "inputSchema": EMPTY}],
                                                "results": RESULTS})) as started:  # fmt: skip
        yield started


def called(client: Scripted, name: str, tool: str, **arguments: Any) -> dict[str, Any]:
    info = {"name": name, "version": "1"}
    client.ask("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=info)
    answer: dict[str, Any] = client.call(tool, **arguments)["result"]
    return answer


def size_of(result: dict[str, Any], name: str) -> int:
    """The larger of the text and the structured content, in the client's unit."""
    texts = "".join(block["text"] for block in result["content"] if block["type"] == "text")
    compact = json.dumps(result.get("structuredContent", ""), ensure_ascii=False, separators=(",", ":"))
    as_bytes = CLIENTS.get(name, UNKNOWN).unit == "bytes"
    return max(len(text.encode() if as_bytes else text) for text in (texts, compact))


@pytest.mark.parametrize("mode", ["async", "sync"])
@pytest.mark.parametrize("name", [*CLIENTS, "someone"])
def test_requested_columns_are_within_what_the_client_shows(client: Scripted, name: str, mode: str) -> None:
    most = CLIENTS.get(name, UNKNOWN).most
    for tool, columns in (("rows", NARROW), ("wide", ",".join(WIDE[0]))):
        result = called(client, name, tool, abstract_domains=columns, mode=mode)
        shape = result["structuredContent"]
        assert size_of(result, name) <= most, (tool, size_of(result, name))
        assert shape["resource_url"] and "body" not in shape
        rows = len(shape["abstract"])
        if rows < shape["total_rows"]:
            said = f"abstract has the first {rows:,}." if rows else "abstract has none of them."
            assert said in shape["next_step"] and shape["abstract_truncated"] and shape["summary"]
        if tool == "rows":  # the room is used
            shown = [{"_row_id": at, **{key: ROWS[at][key] for key in NARROW.split(",")}} for at in range(rows)]
            assert shape["abstract"] == shown
            assert rows == min(1_000, len(ROWS)) or most - size_of(result, name) < 200, rows


def test_a_small_result_keeps_its_mode_and_all_columns(client: Scripted) -> None:
    shape = called(client, "someone", "few", abstract_domains="id", mode="sync")["structuredContent"]
    assert [row["note"] for row in shape["body"]] == ["x" * 300] * 5 and "resource_url" not in shape
    shape = called(client, "someone", "few", abstract_domains="id")["structuredContent"]
    assert len(shape["abstract"]) == 5 and "abstract_truncated" not in shape
    assert shape["next_step"].startswith("5 rows of 5 columns. To read on:")


def test_an_error_with_the_result_is_within_what_the_client_shows(client: Scripted) -> None:
    name = "Visual Studio Code"
    assert size_of(called(client, name, "prose"), name) == 8_100
    refused = called(client, name, "prose", abstract_domains="id")
    assert refused["isError"] and size_of(refused, name) <= 8_192 and "resource_url" in refused["content"][1]["text"]
