"""The canonical form of artifacts, and values that have none."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.errors import ChangeError, TooLargeError, WireError
from broker_plane.sessions.canonical import DEEPEST, canonical, check_value, plain, sha256
from broker_plane.sessions.replicas.port import ArtifactKind

_NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | _NUMBERS | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.sampled_from("a~/é🌴"), max_size=3), inner),
    max_leaves=12,
)


def as_floats(value: Any) -> Any:
    match value:
        case int() if not isinstance(value, bool):
            return float(value)
        case dict():
            return {name: as_floats(each) for name, each in reversed(list(value.items()))}
        case list():
            return [as_floats(each) for each in value]
    return value


@given(JSON)
def test_numbers_order_and_a_way_through_json_make_no_difference(value: Any) -> None:
    try:
        form = canonical("json", value)
    except ChangeError:  # a float between 2**53 and 1e21
        return
    assert canonical("json", as_floats(value)) == form
    assert canonical("json", plain(value)) == form
    assert canonical("json", json.loads(form)) == form


def test_each_kind_has_its_form() -> None:
    assert canonical("text", "a🌴") == b"a\xf0\x9f\x8c\xb4"
    assert canonical("json", {"b": [1.0, 1e21, None], "a": "é"}) == '{"a":"é","b":[1,1e+21,null]}'.encode()
    assert canonical("table", [{"b": 1, "a": 2.5}, {}]) == b'{"a":2.5,"b":1}\n{}\n'
    assert sha256("text", "") == hashlib.sha256(b"").hexdigest()


def nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def test_nesting_has_a_limit() -> None:
    check_value("json", nested(DEEPEST))
    for levels in (DEEPEST + 1, 50_000):
        with pytest.raises(ChangeError, match="deeper than 64"):
            check_value("json", nested(levels))


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        ("text", "a\ud83c", "Character 1 of the text is half"),
        ("text", {"a": 1}, "kind text is a text"),
        ("json", {"a": [0, float("nan")]}, "'/a/1' is not finite"),
        ("json", [float("-inf")], "not finite"),
        ("json", 2**53, "beyond"),
        ("json", float(2**53), "beyond"),
        ("json", 10**400, "beyond"),
        ("json", {"\udf34": 1}, "half"),
        ("json", {1: 2}, "name is not a text"),
        ("json", {"a": b"x"}, "type bytes"),
        ("table", {"a": 1}, "a list of rows"),
        ("table", [{"a": 1}, [2]], "Row 1"),
    ],
)
def test_a_value_without_a_canonical_form_is_refused(kind: ArtifactKind, value: Any, says: str) -> None:
    with pytest.raises(ChangeError, match=says):
        check_value(kind, value)
    with pytest.raises(ChangeError, match=says):
        canonical(kind, value)


def test_an_unknown_kind_and_a_value_above_its_limit_are_refused() -> None:
    with pytest.raises(WireError, match="text, json or table"):
        check_value("picture", "x")  # type: ignore[arg-type]
    check_value("text", "🌴", 4)
    with pytest.raises(TooLargeError, match="3 bytes"):
        check_value("text", "🌴", 3)
