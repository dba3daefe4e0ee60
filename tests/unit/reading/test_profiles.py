"""Descriptions of tables and texts, and that they are bounded."""

from __future__ import annotations

import sys
import tracemalloc
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from broker_plane.reading.answers import description_of
from broker_plane.reading.kinds import opaque_kind
from broker_plane.reading.line_splitter import LineSplitter
from broker_plane.reading.table_profile import DESCRIBED_BYTES, TableProfile
from broker_plane.reading.text_profile import TextProfile
from broker_plane.tabular.frame import frame_of
from broker_plane.tabular.json_values import json_bytes
from broker_plane.wire.exact_json import loads

VALUES = st.none() | st.integers(-3, 3) | st.floats(-2, 2) | st.just(float("nan"))


def described(rows: list[dict[str, Any]], columns: list[str], frames: int = 1) -> dict[str, Any]:
    profile = TableProfile(columns)
    step = max(1, len(rows) // frames)
    for start in range(0, len(rows), step):
        profile.add(frame_of(rows[start : start + step], start))
    return profile.description("rows").to_wire()


@given(st.lists(VALUES, max_size=40), st.integers(1, 5))
def test_the_figures_of_a_column_are_those_of_its_values(values: list[Any], frames: int) -> None:
    column = described([{"a": value} for value in values], ["a"], frames)["columns"][0]
    solid = [value for value in values if value is not None and value == value]
    assert column["nulls"] == len(values) - len(solid)
    assert column["distinct"] == len(set(solid))
    if solid:
        assert (column["min"], column["max"]) == (min(solid), max(solid))
        assert column["examples"] == list(dict.fromkeys(solid))[:5]


def test_types_of_all_kinds_are_described() -> None:
    rows: list[dict[str, Any]] = [
        {"mixed": 1, "list": [1], "when": datetime(2026, 1, 2, tzinfo=UTC), "text": "b" * 300},
        {"mixed": "x", "list": [1], "when": datetime(2026, 1, 1, tzinfo=UTC), "text": "a"},
        {"mixed": None},
    ]
    mixed, lists, when, text = described(rows, ["mixed", "list", "when", "text"])["columns"]
    assert mixed == {"name": "mixed", "type": "int|str", "nulls": 1, "distinct": 2, "examples": [1, "x"]}
    assert (lists["type"], lists["distinct"], "min" in lists) == ("list", 1, False)
    assert (when["type"], when["min"]) == ("datetime", "2026-01-01T00:00:00+00:00")
    assert (text["min"], text["max"], text["nulls"]) == ("a", "b" * 60 + "…", 1)


def test_distinct_values_are_counted_to_ten_thousand() -> None:
    assert described([{"a": n} for n in range(10_000)], ["a"], 7)["columns"][0]["distinct"] == 10_000
    assert described([{"a": n} for n in range(10_001)], ["a"], 7)["columns"][0]["distinct"] == "more than 10,000"


def test_a_wide_table_is_described_briefly() -> None:
    for count in (200, 1_000, 16_000):
        columns = [f"column number {n}" for n in range(count)]
        found = described([dict.fromkeys(columns, "some text or other")], columns)
        assert len(json_bytes(found)) <= DESCRIBED_BYTES
        assert found["column_count"] == count
        assert len(found["columns"]) + found.get("columns_left_out", 0) == count


def test_the_memory_of_a_description_does_not_grow_with_long_values() -> None:
    profile = TableProfile(["a"])
    profile.add(frame_of([{"a": "x" * 1_000_000 + str(n)} for n in range(3)], 0))
    tracemalloc.start()
    try:
        for start in range(20):
            profile.add(frame_of([{"a": f"{start}" + "x" * 1_000_000}], start))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 200_000
    assert sys.getsizeof(json_bytes(profile.description("rows").to_wire())) < 2_000


def text_profile(text: str, media_type: str = "text/plain", name: str = "") -> dict[str, Any]:
    profile, splitter = TextProfile(media_type, name), LineSplitter()
    for stretch in (*splitter.feed(text.encode()), *splitter.end()):
        profile.add(stretch)
    return profile.description(len(text.encode())).to_wire()


def test_the_outline_of_a_text_is_its_headings_definitions_or_changed_files() -> None:
    markdown = text_profile("# One\ntext\n```sh\n# no heading\n```\n## Two\n", "text/markdown")
    assert markdown["outline"] == ["1: # One", "6: ## Two"]
    assert (markdown["lines"], markdown["headings"]) == (6, 2)
    python = text_profile("# a comment\nimport x\n\nclass A(B):\n    def go(self):\n        x\n\nasync def f(x): ...\n")
    assert python["outline"] == ["4: class A(B):", "5:     def go(self):", "8: async def f(x): ..."]
    script = text_profile("export default function go(x) {\n}\nclass A extends B {\n", name="a.ts")
    assert script["definitions"] == 2
    diff = text_profile("diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-def f():\n+def g():\n# x\n")
    assert diff["outline"] == ["1: diff --git a/x b/x"]
    assert "outline" not in text_profile("just\nlines\nclass war and def leppard\n")


def test_a_long_outline_is_cut() -> None:
    found = text_profile("\n".join(f"# {n}" for n in range(500)))
    assert (found["headings"], len(found["outline"]), found["outline"][-1]) == (500, 101, "… and 400 more")
    assert found["outline"][99] == "100: # 99"


def test_a_description_is_read_from_the_wire() -> None:
    found = described([{"a": 1}], ["a"])
    assert description_of(loads(json_bytes(found))).to_wire() == found


def test_kinds_of_opaque_bodies() -> None:
    assert opaque_kind("application/json", b"{}") == "json"
    assert opaque_kind("application/geo+json; charset=utf-8", b"{}") == "json"
    assert opaque_kind("application/json", b"\xff\xfe{\x00") == "bytes"
    assert opaque_kind("text/plain", b"caf\xe9") == "text"
    assert opaque_kind("text/plain", b"a\x00b") == "bytes"
    assert opaque_kind("application/octet-stream", "größe".encode()[:3]) == "text"
    assert opaque_kind("application/octet-stream", b"\x89PNG\r\n\x1a\n") == "bytes"
    assert opaque_kind("image/svg+xml", b"<svg/>") == "text"
    assert opaque_kind("application/pdf", b"%PDF-1.7\n%\xe2\xe3") == "bytes"
    assert opaque_kind("", b"") == "text"
