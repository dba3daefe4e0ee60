"""The language of `where`: what parses, what is refused and where, and what each test means."""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_plane.errors import SelectorError
from broker_plane.tabular.frame import ABSENT, Frame
from broker_plane.tabular.where import RowFilter, matching
from broker_plane.wire.caveats import Rows, Where
from broker_plane.wire.rows import of_ids
from broker_plane.wire.where import MAX_CHARACTERS, And, Compare, In, IsNull, Not, Or, columns_of, parse_where
from tests.examples import examples

A = Compare("a", "=", 1)
B = Compare("b", "=", 2)
C = Compare("c", "=", 3)

TREES: list[tuple[str, Any]] = [
    ("a = 1", A),
    ("a=1 and b=2 and c=3", And((A, B, C))),
    ("a=1 or b=2 and c=3", Or((A, And((B, C))))),
    ("(a=1 or b=2) AND c=3", And((Or((A, B)), C))),
    ("not a=1 and b=2", And((Not(A), B))),
    ("NOT (a=1 and b=2)", Not(And((A, B)))),
    ("a != -1.5e2", Compare("a", "!=", Decimal("-1.5e2"))),
    ("a<.5", Compare("a", "<", Decimal("0.5"))),
    ("a >= 'it''s'", Compare("a", ">=", "it's")),
    ("a = ''", Compare("a", "=", "")),
    ("a = TRUE or a = false", Or((Compare("a", "=", True), Compare("a", "=", False)))),
    ('"the ""name""" <= 1', Compare('the "name"', "<=", 1)),
    ('"and" > 1', Compare("and", ">", 1)),
    ("größe > 1", Compare("größe", ">", 1)),
    ("a in (1, 'x', true)", In("a", (1, "x", True))),
    ("a not in (1)", Not(In("a", (1,)))),
    ("a is null or a IS NOT NULL", Or((IsNull("a"), Not(IsNull("a"))))),
    ("\n a\t=  1 ", A),
]


@pytest.mark.parametrize(("text", "tree"), TREES, ids=[text for text, _ in TREES])
def test_a_text_is_its_tree(text: str, tree: Any) -> None:
    assert parse_where(text) == tree


REFUSED = [
    ("", "at character 1: expected a column"),
    ("a", "at character 2: expected = != < <= > >=, in or is, found its end"),
    ("a = ", "at character 5: expected a number, a 'text', true or false, found its end"),
    ("a = null", "at character 5: expected a value; for null write: is null"),
    ("a = b", "at character 5: expected a number"),
    ("a == 1", "at character 4: expected a number"),
    ("a <> 1", "at character 4"),
    ("1 = a", "at character 1: expected a column"),
    ("a = 1 b = 2", "at character 7: expected and, or, or the end, found 'b'"),
    ("(a = 1", r"at character 7: expected \), found its end"),
    ("a = 1)", "at character 6: expected and, or, or the end"),
    ("a in ()", "at character 7: expected a number"),
    ("a in 1", r"at character 6: expected \("),
    ("a in (1,)", "at character 9"),
    ("a is 1", "at character 6: expected null"),
    ("a not null", "at character 7: expected in"),
    ("a = 'open", "at character 5"),
    ('"open = 1', "at character 1"),
    ('"" = 1', "at character 1"),
    ("a = 1; drop", "at character 6"),
    ("a = 1.2.3", "at character 5"),
    ("a = 12x", "at character 5"),
    ("a = 1e9999", "at character 5"),
    ("and = 1", "at character 1"),
    ("a = \x00", "at character 5"),
]


@pytest.mark.parametrize(("text", "says"), REFUSED, ids=[text for text, _ in REFUSED])
def test_a_text_that_is_none_is_refused_at_its_place(text: str, says: str) -> None:
    with pytest.raises(SelectorError, match=says):
        parse_where(text)


def test_length_nodes_and_depth_are_bounded() -> None:
    parse_where("a = '" + "x" * (MAX_CHARACTERS - 6) + "'")
    with pytest.raises(SelectorError, match="513 characters; the most is 512"):
        parse_where("a = '" + "x" * (MAX_CHARACTERS - 5) + "'")
    parse_where("a in (" + ",".join("1" * 63) + ")")
    with pytest.raises(SelectorError, match="more than 64"):
        parse_where("a in (" + ",".join("1" * 64) + ")")
    parse_where("(" * 15 + "a=1" + ")" * 15)
    for deep in ("(" * 16 + "a=1" + ")" * 16, "not " * 16 + "a=1", "(" * 500):
        with pytest.raises(SelectorError, match="deeper than 16"):
            parse_where(deep)


@given(st.text(alphabet="ab =!<>()'\",.1-eandorntiul\x00\u00e9", max_size=40))
@settings(max_examples=examples(10))
def test_any_text_parses_or_is_a_selector_error(text: str) -> None:
    try:
        tree = parse_where(text)
    except SelectorError:
        return
    assert columns_of(tree)


EAST = timezone(timedelta(hours=2))
VALUES: list[Any] = [
    *(None, ABSENT, True, False, 0, 1, -5, 2**70, 1.0, 1.1, float("nan"), float("inf"), Decimal("1.1"), Decimal("NaN")),
    *("", "1", "abc", "2026-01-02", b"abc", [1], {"a": 1}, timedelta(1), UUID(int=7), Decimal("sNaN")),
    *(date(2026, 1, 2), datetime(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 2, 2, tzinfo=EAST)),
    *(time(1, 2), time(1, 2, tzinfo=UTC), datetime.min.replace(tzinfo=EAST), datetime.max.replace(tzinfo=UTC)),
]
HOLDS: list[tuple[str, list[Any]]] = [
    ("x = 1", [1, 1.0]),
    ("x = 1.1", [1.1, Decimal("1.1")]),
    ("x != 1", [0, -5, 2**70, 1.1, float("inf"), Decimal("1.1")]),
    ("x > 1e300", [float("inf")]),
    ("x > 1000", [2**70, float("inf")]),
    ("x = true", [True]),
    ("x != true", [False]),
    ("x < true", [False]),
    ("x = 'abc'", ["abc"]),
    ("x < 'abc'", ["", "1", "2026-01-02"]),
    ("x in ('1', 1, false)", [False, 1, 1.0, "1"]),
    ("x is null", [None, ABSENT]),
    ("x = '2026-01-02'", ["2026-01-02", date(2026, 1, 2), datetime(2026, 1, 2), *VALUES[26:28]]),
    ("x = '2026-01-02T00:00+00:00'", VALUES[26:28]),
    ("x < '2026-01-02T01:00'", ["", "1", "2026-01-02", datetime(2026, 1, 2), *VALUES[26:28], VALUES[30]]),
    ("x >= '01:02'", ["1", "abc", "2026-01-02", time(1, 2), time(1, 2, tzinfo=UTC)]),
    ("x = '00000000-0000-0000-0000-000000000007'", [UUID(int=7)]),
]


@pytest.mark.parametrize(("text", "those"), HOLDS, ids=[text for text, _ in HOLDS])
def test_a_test_holds_for_like_values_and_its_not_for_all_others(text: str, those: list[Any]) -> None:
    frame = Frame({"x": VALUES}, range(len(VALUES)))
    expected = [any(type(value) is type(one) and repr(value) == repr(one) for one in those) for value in VALUES]
    assert matching(parse_where(text), frame) == expected
    assert matching(parse_where(f"not ({text})"), frame) == [not each for each in expected]


def test_a_column_that_the_frame_lacks_is_absent_in_every_row() -> None:
    frame = Frame({}, range(2))
    assert matching(parse_where("x is null and not x = 1"), frame) == [True, True]


LITERALS = ["1", "-5", "1.1", "0", "'abc'", "''", "true", "false", "'2026-01-02'", "'01:02'", "1e300"]
SIGNS = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def model(value: Any, sign: str, literal: str) -> bool:
    """The rules of tabular/where.py said once more, a value at a time."""
    if value is None or value is ABSENT or value != value:
        return False
    compare: Callable[[Any, Any], bool] = SIGNS[sign]
    if literal in ("true", "false"):
        return type(value) is bool and compare(value, literal == "true")
    if not literal.startswith("'"):
        number = float(literal) if type(value) is float else Decimal(literal)
        return type(value) in (int, float, Decimal) and compare(value, number)
    text = literal[1:-1]
    if type(value) is str:
        return compare(value, text)
    if type(value) not in (date, datetime, time):
        return False
    try:
        spelled = type(value).fromisoformat(text)
    except ValueError:
        return False
    aware = isinstance(value, (datetime, time)) and value.tzinfo is not None
    return compare(value, spelled.replace(tzinfo=UTC) if aware else spelled)


Pair = tuple[str, list[bool]]
LIKE = [value for value in VALUES if not (isinstance(value, Decimal) and value.is_snan())]


def _test(sign: str, literal: str) -> Pair:
    return f"x {sign} {literal}", [model(value, sign, literal) for value in LIKE]


def _in(literals: list[str]) -> Pair:
    found = [any(model(value, "=", literal) for literal in literals) for value in LIKE]
    return f"x in ({', '.join(literals)})", found


def _joined(word: str, parts: list[Pair]) -> Pair:
    join = all if word == "and" else any
    masks = [mask for _, mask in parts]
    return f" {word} ".join(f"({text})" for text, _ in parts), [join(each) for each in zip(*masks, strict=True)]


tests = st.one_of(
    st.builds(_test, st.sampled_from(sorted(SIGNS)), st.sampled_from(LITERALS)),
    st.builds(_in, st.lists(st.sampled_from(LITERALS), min_size=1, max_size=4)),
    st.just(("x is null", [value is None or value is ABSENT for value in LIKE])),
)
expressions = st.recursive(
    tests,
    lambda inner: st.one_of(
        st.builds(_joined, st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3)),
        inner.map(lambda pair: (f"not ({pair[0]})", [not each for each in pair[1]])),
    ),
    max_leaves=6,
)


@given(expressions)
@settings(max_examples=examples(5), deadline=None)
def test_any_expression_means_what_the_model_says(pair: Pair) -> None:
    text, mask = pair
    if len(text) <= MAX_CHARACTERS:
        assert matching(parse_where(text), Frame({"x": LIKE}, range(len(LIKE)))) == mask


def test_steps_are_taken_in_their_order_over_all_frames() -> None:
    frames = [Frame({"x": [row % 3 for row in ids]}, ids) for ids in (range(4), range(4, 10))]
    after = RowFilter([Where("x = 0"), Rows(first=2)])
    before = RowFilter([Rows(first=2), Where("x = 0")])
    among = RowFilter([Rows(of_ids([3, 5, 6, 9])), Where("x = 0"), Rows(first=2)])
    assert [row for frame in frames for row in after.keep(frame)] == [0, 3]
    assert [row for frame in frames for row in before.keep(frame)] == [0]
    assert [row for frame in frames for row in among.keep(frame)] == [3, 6]
    assert (after.done, before.done, after.columns) == (True, True, frozenset("x"))
