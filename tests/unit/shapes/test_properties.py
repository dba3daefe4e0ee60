"""Any text and any JSON is recognised or kept: nothing raises, and nothing is lost."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from broker_plane.shapes.recognise import Opaque, Table, recognise, recognise_text, recognise_value
from broker_plane.tabular.json_values import json_value
from tests.examples import examples

NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=8)
NAMES = st.sampled_from(
    ["rows", "data", "columns", "index", "schema", "fields", "type", "features", "result", "content"]
)
KEYS = NAMES | st.text(max_size=4)
VALUES = st.recursive(
    SCALARS | st.lists(st.dictionaries(KEYS, SCALARS, max_size=3), max_size=3),
    lambda members: st.lists(members, max_size=4) | st.dictionaries(KEYS, members, max_size=4),
    max_leaves=12,
)
WORDS = st.sampled_from(
    [
        "a",
        "1",
        "1.5",
        '"',
        ",",
        "\t",
        "\n",
        "|",
        "-",
        "```",
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        ":",
        "'",
        " ",
        "null",
        "\r\n",
    ]
)
TEXTS = st.text() | st.lists(WORDS, max_size=40).map("".join) | VALUES.map(json.dumps) | VALUES.map(repr)
NAMED = st.from_regex(r"[a-z]{1,6}", fullmatch=True)
CELLS = st.text(alphabet=st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=6)


def kept(found: Table | Opaque, text: str) -> bool:
    """Whether the exact text is in the answer."""
    content = found.source if isinstance(found, Table) else found
    return content is not None and content.raw == text.encode("utf-8", "surrogatepass")


@given(TEXTS)
@settings(max_examples=examples(2))
def test_any_text_is_recognised_or_kept(text: str) -> None:
    for shape in ("auto", "table", "text"):
        assert kept(recognise_text(text, shape=shape), text)


@given(VALUES)
@settings(max_examples=examples(2))
def test_any_result_is_recognised_or_kept(value: Any) -> None:
    text = json.dumps(value)
    assert kept(recognise({"content": [{"type": "text", "text": text}]}), text)
    assert kept(recognise({"content": [{"type": "text", "text": text}], "structuredContent": {"content": text}}), text)
    found = recognise({"content": [], "structuredContent": value})
    content = found.source if isinstance(found, Table) else found
    if content is None:
        assert isinstance(found, Table) and found.kind == "rows"
        assert found.rows == (value["result"] if isinstance(value, dict) else value)
    elif value is not None and content.media_type == "application/json" and content.path == "structuredContent":
        assert json.loads(content.raw) == value


@given(VALUES)
@settings(max_examples=examples(1.5))
def test_rows_without_types_are_what_was_in_the_value(value: Any) -> None:
    found = recognise_value(value, types=False)
    if found is None or found.kind not in ("rows", "envelope"):
        return
    at = value
    for part in found.path[2:].split("/") if found.path else ():
        at = at[part.replace("~1", "/").replace("~0", "~")]
    assert found.rows == at


@given(st.lists(st.fixed_dictionaries({"a": SCALARS, "b": SCALARS}), min_size=1, max_size=5))
def test_typed_rows_show_the_same_values(rows: list[dict[str, Any]]) -> None:
    found = recognise_value(rows)
    assert found is not None
    assert json.loads(json.dumps(json_value(found.rows))) == json.loads(json.dumps(json_value(rows)))


@given(st.lists(NAMED, min_size=2, max_size=4, unique=True), st.data())
@settings(max_examples=examples(0.8))
def test_a_csv_that_is_written_is_read(names: list[str], data: st.DataObject) -> None:
    lines = data.draw(st.lists(st.lists(CELLS, min_size=len(names), max_size=len(names)), min_size=1, max_size=5))
    file = io.StringIO()
    csv.writer(file).writerows([names, *lines])
    found = recognise_text(file.getvalue(), shape="csv", types=False)
    assert isinstance(found, Table)
    assert [list(row.values()) for row in found.rows] == lines and found.columns == tuple(names)


@given(st.lists(st.tuples(SCALARS, st.binary(max_size=4), st.lists(SCALARS, max_size=2)), min_size=1, max_size=5))
@settings(max_examples=examples(0.8))
def test_a_repr_that_is_written_is_read(rows: list[tuple[Any, ...]]) -> None:
    found = recognise_text(str(rows), types=False)
    assert isinstance(found, Table) and found.kind == "repr"
    assert [tuple(row.values()) for row in found.rows] == rows
    dicts = [{"a": row[0], "b": {"c": row[2]}} for row in rows]
    again = recognise_text(str(dicts), types=False)
    if isinstance(again, Table):  # some are JSON
        assert again.rows == dicts
