"""JSON paths: what they select is what Python's own lists and dicts give."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.errors import WireError
from broker_plane.reading import json_scan
from broker_plane.reading.json_path import Every, JsonPath, Slice, Step, parse_json_path
from broker_plane.reading.json_profile import json_description
from broker_plane.reading.json_scan import check_json, compact, kind_of, members
from broker_plane.reading.json_text import json_answer
from broker_plane.reading.row_ranges import parse_row_ranges

ROOM = 1 << 20
NAMES = st.sampled_from(["a", "b", "a b", 'q"', "é", ""])
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=30,
)
SLICES = st.builds(Slice, st.none() | st.integers(-4, 4), st.none() | st.integers(-4, 4), st.integers(1, 3))
PATHS: st.SearchStrategy[tuple[Step, ...]] = st.lists(
    NAMES | st.integers(-4, 4) | st.just(Every()) | SLICES, max_size=3
).map(tuple)
INDENTS = st.sampled_from([None, 2])


def written(value: Any, indent: int | None) -> bytes:
    return json.dumps(value, indent=indent, ensure_ascii=False).encode()


def selected(values: list[Any], step: Step) -> list[Any]:
    found: list[Any] = []
    for value in values:
        match step, value:
            case Every(), dict():
                found += value.values()
            case Every(), list():
                found += value
            case str(), dict():
                found += [value[step]] if step in value else []
            case Slice(start, stop, by), list():
                found += value[start:stop:by]
            case int(), list():
                found += [value[step]] if -len(value) <= step < len(value) else []
    return found


@contextmanager
def short_parts(size: int) -> Iterator[None]:
    """Parts above this size are walked through and not decoded."""
    before, json_scan._SHORT_BYTES = json_scan._SHORT_BYTES, size
    try:
        yield
    finally:
        json_scan._SHORT_BYTES = before


@given(JSON, PATHS, INDENTS, st.sampled_from([4, 16, 1 << 16]))
def test_a_path_selects_what_lists_and_dicts_give(
    value: Any, steps: tuple[Step, ...], indent: int | None, short: int
) -> None:
    expected = [value]
    for step in steps:
        expected = selected(expected, step)
    raw = written(value, indent)
    with short_parts(short):
        found = list(JsonPath(steps).select(check_json(raw), lambda: None))
    assert [json.loads(compact(each, ROOM)) for each in found] == expected


@given(JSON, INDENTS)
def test_members_are_found_in_values_that_are_too_long_to_skip_at_once(value: Any, indent: int | None) -> None:
    raw = written({"deep": [[[[[[value]]]]]], "value": value, "last": 1}, indent)
    with short_parts(4):
        found = {name: bytes(found) for name, found in members(check_json(raw))}
    assert list(found) == ["deep", "value", "last"]
    assert json.loads(found["value"]) == value
    assert compact(found["last"], ROOM) == b"1"


@given(JSON)
def test_a_compact_text_is_what_python_writes(value: Any) -> None:
    raw = written(value, 4)
    assert compact(check_json(raw), ROOM).decode() == json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("$", ()),
        ("", ()),
        ("$.a.b_1[0]", ("a", "b_1", 0)),
        (".a[*].b", ("a", Every(), "b")),
        ("a.*", ("a", Every())),
        ("$['a b'][\"c'd\"]", ("a b", "c'd")),
        (r"$['it\'s']", ("it's",)),
        ("$[-1][1:][:-2]", (-1, Slice(1, None, 1), Slice(None, -2, 1))),
        ("$[::3][ 0 : 5 ]", (Slice(None, None, 3), Slice(0, 5, 1))),
        ("$.größe", ("größe",)),
    ],
)
def test_a_path_is_parsed(text: str, steps: tuple[Step, ...]) -> None:
    assert parse_json_path(text).steps == steps


@pytest.mark.parametrize(
    "text",
    ["$..a", "$[?@.a > 1]", "$[0,1]", "$.a[", "$.a]", "$[::0]", "$[::-1]", "$.", "$.a..b", "$[1e3]", "$[-100001]"],
)
def test_a_path_with_more_than_that_is_refused(text: str) -> None:
    with pytest.raises(WireError, match="json_path"):
        parse_json_path(text)


@pytest.mark.parametrize("raw", [b"", b"{", b"[1,]", b"nul", b"[1] 2", b"\xff", b"[" * 100_000])
def test_a_text_that_is_no_json_is_refused_by_name(raw: bytes) -> None:
    with pytest.raises(WireError, match="not JSON"):
        check_json(raw)


def test_half_of_a_surrogate_pair_is_refused_where_it_is_decoded() -> None:
    with pytest.raises(WireError, match="not JSON"):
        json_answer(rb'{"\ud800": 1}', parse_json_path("a"), None, ROOM)


def test_deep_nesting_within_the_checker_s_limit_is_walked() -> None:
    raw = b"[" * 800 + b"1" + b"]" * 800
    whole = check_json(raw)
    assert next(json_scan.items(whole)) == raw[1:-1]
    assert kind_of(whole) == "array"


def test_of_members_with_one_name_the_last_counts() -> None:
    answer = json_answer(b'{"a": 1, "a": 2}', parse_json_path("a"), None, ROOM)
    assert answer.text == "2"


def test_a_long_array_is_answered_in_parts_that_go_on() -> None:
    raw = json.dumps({"items": [{"id": number} for number in range(1_000)]}).encode()
    seen: list[Any] = []
    rows = None
    while True:
        wanted = None if rows is None else parse_row_ranges(rows)
        answer = json_answer(raw, parse_json_path("$.items"), wanted, 3_000)
        assert len(answer.text) <= 3_000
        assert (answer.total, answer.first) == (1_000, len(seen))
        seen += json.loads(answer.text)
        if answer.next is None:
            break
        rows = answer.next.removeprefix("rows=")
    assert seen == [{"id": number} for number in range(1_000)]


def test_very_many_values_are_not_all_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("json_text", "json_profile"):
        monkeypatch.setattr(f"broker_plane.reading.{module}.MOST_COUNTED", 1_000)
    raw = json.dumps(list(range(5_000))).encode()
    answer = json_answer(raw, parse_json_path("$"), None, 100)
    assert (answer.total, answer.next) == (None, f"rows={answer.count}-")
    rest = json_answer(raw, parse_json_path("$"), parse_row_ranges("4990-"), 100)
    assert (json.loads(rest.text), rest.total) == (list(range(4_990, 5_000)), 5_000)
    assert json_description(raw, "").outline[0] == "$: array of more than 1,000"


def test_a_value_that_is_larger_than_the_budget_is_cut_with_a_mark() -> None:
    raw = json.dumps({"text": "é" * 1_000, "list": ["x" * 1_000, 2]}).encode()
    one = json_answer(raw, parse_json_path("text"), None, 200)
    assert one.cut
    assert one.text.endswith("more bytes]")
    many = json_answer(raw, parse_json_path("list"), None, 200)
    assert (many.count, many.next, many.cut) == (1, "rows=1-", True)


def test_numbers_keep_their_digits() -> None:
    raw = b'{"a": 12345678901234567890123, "b": 1.10}'
    assert json_answer(raw, parse_json_path("$"), None, ROOM).text == '{"a":12345678901234567890123,"b":1.10}'


def test_a_path_has_at_most_32_steps() -> None:
    parse_json_path("$" + ".a" * 32)
    with pytest.raises(WireError, match="json_path"):
        parse_json_path("$" + ".a" * 33)


def test_the_shape_of_a_text() -> None:
    items = [{"id": number, "tags": ["x"] * (number % 3)} for number in range(50)]
    value = {"meta": {"n": 3}, "items": [items[0], {**items[1], "rare": 1}, *items[2:]]}
    described = json_description(json.dumps(value).encode(), "application/json")
    assert described.facts["root"] == "object"
    assert described.outline == (
        "$: object",
        "$.meta: object",
        "$.meta.n: number, e.g. 3",
        "$.items: array of 50",
        "$.items[*]: object",
        "$.items[*].id: number, e.g. 0",
        "$.items[*].tags: array of 0 to 2",
        '$.items[*].tags[*]: string, e.g. "x"',
        "$.items[*].rare: number, in 1 of 20 sampled, e.g. 1",
    )


@pytest.mark.parametrize("value", [[[[]] * 3_000] * 3, {str(n): {str(m): m for m in range(50)} for n in range(300)}])
def test_the_shape_of_any_text_is_short(value: Any) -> None:
    described = json_description(json.dumps(value).encode(), "application/json")
    assert len(described.outline) <= 101
