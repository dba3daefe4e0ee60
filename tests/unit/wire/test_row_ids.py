"""Long lists of row ids: whatever is asked, the parsed list is what a plain parser gives, or it is refused."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker_plane.bridge.selectors import selector_of_body
from broker_plane.errors import SelectorError, TooLargeError, WireError
from broker_plane.wire import row_ids
from broker_plane.wire.presigned import PullRequest, parse_request
from broker_plane.wire.presigned_sizes import MOST_REQUEST_BYTES
from broker_plane.wire.row_ids import in_order
from broker_plane.wire.selector import WHOLE, Selector, parse_selector

NUMBER = "A" * 22
STEP = 1 << 14
LONG = [
    range(3 * STEP),
    range(3 * STEP, 0, -1),
    [*range(2 * STEP, 4 * STEP), *range(2 * STEP)],
    [number * 7919 << 20 for number in range(2 * STEP)],
    [1 << 50, *range(3 * STEP)],
    [*range(3 * STEP), 7],
    [7] * (3 * STEP),
    [0, *range(3 * STEP, 0, -1), 5],
    [*range(-STEP, 2 * STEP)],
    random.Random(1).sample(range(1 << 20), 5 * STEP),
    random.Random(2).sample(range(1 << 40), 3 * STEP),
    random.Random(3).choices(range(1 << 30), k=3 * STEP),
]


def expected(ids: Sequence[int]) -> list[int] | None:
    return sorted(ids) if len(set(ids)) == len(ids) else None


def ordered(ids: Sequence[int]) -> list[int] | None:
    try:
        return list(in_order(ids))
    except SelectorError:
        return None


@pytest.mark.parametrize("ids", LONG, ids=lambda ids: f"{ids[0]}…{len(ids)}")
def test_long_lists_come_in_order_or_are_refused_where_one_stands_twice(ids: Sequence[int]) -> None:
    assert ordered(list(ids)) == expected(ids)


@pytest.mark.parametrize("ids", LONG, ids=lambda ids: f"{ids[0]}…{len(ids)}")
def test_long_lists_are_parsed_alike_of_json_and_of_msgpack(ids: Sequence[int]) -> None:
    wanted = expected(ids)
    for parse in (_of_json, _of_msgpack):
        if wanted is None:
            with pytest.raises(SelectorError):
                parse(list(ids))
        else:
            selector = parse(list(ids))
            assert list(selector.row_ids or ()) == list(ids)
            assert list(selector.ordered) == wanted


def _of_json(value: object) -> Selector:
    return selector_of_body(json.dumps({"row_ids": value, "more": [[]]}).encode())


def _of_msgpack(value: object) -> Selector:
    return parse_request(msgpack.packb({"n": NUMBER, "row_ids": value, "more": [[]]})).selector


NOT_IDS = [3, "a", {}, [True], [1.5], [None], [[]], [{}], ["1"], [1, 1], {"0": 1}, True, [[1, 2]]]


@pytest.mark.parametrize("value", NOT_IDS, ids=repr)
@pytest.mark.parametrize("before", [0, 3 * STEP])
def test_what_is_no_list_of_distinct_numbers_is_refused(value: object, before: int) -> None:
    long = [*range(10, 10 + before), *value] if before and isinstance(value, list) else value
    for parse in (_of_json, _of_msgpack):
        with pytest.raises(SelectorError):
            parse(long)


@given(st.lists(st.integers(-5, 300), max_size=80))
@example([])
def test_short_lists_are_as_the_plain_parser_gives_them(ids: list[int]) -> None:
    if expected(ids) is None:
        with pytest.raises(SelectorError):
            _of_json(ids)
        return
    assert _of_json(ids) == _of_msgpack(ids) == parse_selector({"row_ids": ids})


@given(st.lists(st.integers(0, 60), unique=True), st.integers(0, 60), st.integers(0, 40))
def test_places_within_a_frame_are_those_of_the_set(ids: list[int], first: int, count: int) -> None:
    selector = parse_selector({"row_ids": ids})
    frame = range(first, first + count)
    wanted = [place for place, row_id in enumerate(frame) if row_id in ids]
    for of in (frame, list(frame), list(frame)[::2]):
        wanted = [place for place, row_id in enumerate(of) if row_id in ids]
        assert selector.places(of) == (None if len(wanted) == len(of) else wanted)


@pytest.mark.parametrize(
    ("ids", "rows"), [(range(5), 5), (range(5), 6), (range(4, -1, -1), 5), (range(1, 6), 5), ([], 0)]
)
def test_only_all_rows_in_order_are_the_whole(ids: Sequence[int], rows: int) -> None:
    whole = list(ids) == list(range(rows)) and rows > 0
    assert (parse_selector({"row_ids": list(ids)}).of(rows) is WHOLE) == whole


BROKEN_JSON = [b"[1,2,]", b"[,1]", b"[1,,2]", b"[1 2]", b"[1,2", b"1,2]", b"[1,2]]", b"[[1,2]", b"[01]", b"[1,2}"]


@pytest.mark.parametrize("text", BROKEN_JSON)
@pytest.mark.parametrize("long", [False, True])
def test_broken_json_is_refused_wherever_it_breaks(text: bytes, long: bool) -> None:
    if long:
        filler = b",".join(b"%d" % number for number in range(100, 100 + 6 * STEP))
        text = text.replace(b"1", filler + b",1", 1)
    with pytest.raises(SelectorError):
        selector_of_body(b'{"row_ids":' + text + b"}")


MEMBERS = [
    {"n": 7}, {"n": "short"}, {"lease": 1}, {"lease": "a" * 65}, {"after": "1"}, {"after": -2}, {"after": 1.5},
    {"look": "5"}, {"look": 101}, {"look": [[]]}, {"who": "a" * 33}, {"who": []}, {"version": -1}, {"version": "1"},
    {"since": -1}, {"since": []}, {"durable": 3}, {"durable": "a" * 201}, {"begin": True}, {"begin": []},
    {"begin": "a" * 201}, {"columns": "a"}, {"columns": [1]}, {"columns": ["a", "a"]}, {"columns": [["a"]]},
    {"columns": ["a" * (1 << 20)]}, {"columns": [str(number) for number in range(10_001)]},
]  # fmt: skip


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: repr(member)[:40])
def test_a_member_of_another_type_or_beyond_its_bound_is_refused_by_name(member: dict[str, object]) -> None:
    with pytest.raises(WireError) as refused:
        parse_request(msgpack.packb({"n": NUMBER, **member}))
    assert str(refused.value) != "This is no msgpack map"


def test_every_request_that_is_packed_is_parsed_as_it_was() -> None:
    request = PullRequest(NUMBER, Selector(("a",), (3, 1)), "ab", 7, 5, "who", 3, 2, "email", 1.5)
    assert parse_request(request.pack()) == request
    assert parse_request(PullRequest(NUMBER, WHOLE).pack()) == PullRequest(NUMBER, WHOLE)


def test_a_request_above_the_bound_is_not_looked_into() -> None:
    with pytest.raises(TooLargeError):
        parse_request(bytes(MOST_REQUEST_BYTES + 1))


def test_small_lists_are_tuples() -> None:
    assert type(_of_json(list(range(row_ids.FEW))).row_ids) is tuple
