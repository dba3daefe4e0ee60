"""What becomes of a result: which is large enough, and the form of sync mode. Pure."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane import Plane
from broker_plane.errors import BrokerUnavailableError
from broker_plane.proxy.offload import Offload
from broker_plane.proxy.results import CallFacts
from broker_plane.reading.clients import UNKNOWN, Threshold

pytestmark = pytest.mark.anyio
TOKENS = 25
"""100 bytes."""
SYNC_TOKENS = 100
"""The results in sync mode of these tests have fewer."""
ROWS = [{"_row_id": 9, "a": 1, "b": "x"}, {"_row_id": 9, "a": 2, "b": "y"}]


async def no_plane() -> Plane:
    raise BrokerUnavailableError("There is no broker in this test")


WANTED = [
    pytest.param({"content": [{"type": "text", "text": "x" * 101}]}, "", True, id="a large text"),
    pytest.param({"content": [{"type": "text", "text": "x" * 100}]}, "", False, id="a text at the limit"),
    pytest.param({"content": [], "structuredContent": {"a": "x" * 101}}, "", True, id="large structured content"),
    pytest.param({"content": [{"type": "image", "data": "x" * 500}]}, "", False, id="no text"),
    pytest.param({"content": [{"type": "text", "text": "x"}]}, "a", True, id="columns of a small table"),
    pytest.param({"content": [{"type": "text", "text": "x" * 101}], "isError": True}, "a", False, id="an error"),
    pytest.param({"content": [], "resultType": "input_required"}, "a", False, id="not complete"),
]


@pytest.mark.parametrize(("result", "domains", "wanted"), WANTED)
def test_which_results_are_rewritten(result: dict[str, Any], domains: str, wanted: bool) -> None:
    assert Offload(no_plane, Threshold(TOKENS)).wanted(result, 500, domains, UNKNOWN) is wanted


async def test_a_result_that_is_small_on_the_wire_is_not_looked_at() -> None:
    assert not Offload(no_plane, Threshold(TOKENS)).wanted(
        {"content": [{"type": "text", "text": "x" * 101}]}, 100, "", UNKNOWN
    )


@pytest.mark.parametrize(
    ("call", "links", "members"),
    [
        pytest.param(CallFacts("t", "a", "sync"), 0, {"abstract", "body", "columns", "total_rows"}, id="all members"),
        pytest.param(
            CallFacts("t", "a", "sync", hidden=frozenset({"body"})), 0, {"abstract", "columns"}, id="hidden members"
        ),
    ],
)
async def test_sync_mode(call: CallFacts, links: int, members: set[str]) -> None:
    result = {"content": [{"type": "image", "data": "AA=="}], "structuredContent": {"rows": ROWS}}
    made, kind = await Offload(no_plane, Threshold(SYNC_TOKENS)).rewritten(call, result)
    assert kind == "envelope"
    assert members <= made["structuredContent"].keys()
    assert not call.hidden & made["structuredContent"].keys()
    assert [block["type"] for block in made["content"]] == ["text", "image"]
    assert made["structuredContent"]["abstract"] == [{"_row_id": 0, "a": 1}, {"_row_id": 1, "a": 2}]


async def test_clients_of_typed_tools_are_told_that_the_result_is_wrapped() -> None:
    made, _ = await Offload(no_plane, Threshold(SYNC_TOKENS)).rewritten(
        CallFacts("t", "a", "sync", typed=True), {"structuredContent": {"r": ROWS}}
    )
    assert made["_meta"]["fastmcp"] == {"wrap_result": True}


async def test_a_large_table_needs_the_plane() -> None:
    with pytest.raises(BrokerUnavailableError):
        await Offload(no_plane, Threshold(TOKENS)).rewritten(
            CallFacts("t"), {"content": [], "structuredContent": {"rows": ROWS * 50}}
        )


async def test_a_row_id_of_the_servers_is_kept_under_another_name() -> None:
    result = {"content": [], "structuredContent": {"rows": [{"_row_id": 7, "row_id": 1, "a": 2}]}}
    made, _ = await Offload(no_plane, Threshold(SYNC_TOKENS)).rewritten(CallFacts("t", "row_id_2", "sync"), result)
    assert made["structuredContent"]["abstract"] == [{"_row_id": 0, "row_id_2": 7}]
    assert made["structuredContent"]["body"] == [{"_row_id": 0, "row_id": 1, "a": 2}]


async def test_all_that_was_beside_the_rows_is_in_the_result() -> None:
    beside = {"facets": {f"facet {number}": "x" * 40 for number in range(200)}, "note": "y" * 3000}
    result = {"content": [], "structuredContent": {"rows": ROWS} | beside}
    made, _ = await Offload(no_plane, Threshold(10_000)).rewritten(CallFacts("t", "a", "sync"), result)
    assert made["structuredContent"]["fields"] == beside
