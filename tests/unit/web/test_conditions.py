"""RFC 9110, section 13: the order of precedence, comparison of tags, and dates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.web.conditions import Validators, Verdict, entity_tags, honours_range, judge
from broker_plane.web.dates import format_date, parse_date

MODIFIED = 784_111_777  # the RFC's own moment, Sun, 06 Nov 1994 08:49:37 GMT
AT = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
AFTER = "Mon, 07 Nov 1994 08:49:37 GMT"
HERE = Validators('"xyzzy"', MODIFIED)
SEND, NOT_MODIFIED, FAILED = Verdict.SEND, Verdict.NOT_MODIFIED, Verdict.FAILED


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        ({}, SEND),
        # Step 1: If-Match compares strongly.
        ({"if-match": "*"}, SEND),
        ({"if-match": '"xyzzy"'}, SEND),
        ({"if-match": '"a", "xyzzy", "c"'}, SEND),
        ({"if-match": 'W/"xyzzy"'}, FAILED),
        ({"if-match": '"other"'}, FAILED),
        ({"if-match": "xyzzy"}, FAILED),
        ({"if-match": ""}, FAILED),
        # Step 2 counts only without step 1; a date that is none counts for nothing.
        ({"if-unmodified-since": AT}, SEND),
        ({"if-unmodified-since": AFTER}, SEND),
        ({"if-unmodified-since": BEFORE}, FAILED),
        ({"if-unmodified-since": "yesterday"}, SEND),
        ({"if-match": '"xyzzy"', "if-unmodified-since": BEFORE}, SEND),
        # Step 3: If-None-Match compares weakly.
        ({"if-none-match": "*"}, NOT_MODIFIED),
        ({"if-none-match": '"xyzzy"'}, NOT_MODIFIED),
        ({"if-none-match": 'W/"xyzzy"'}, NOT_MODIFIED),
        ({"if-none-match": '"a,b", "xyzzy"'}, NOT_MODIFIED),
        ({"if-none-match": '"other"'}, SEND),
        ({"if-none-match": "xyzzy"}, SEND),
        # Step 4 counts only without step 3.
        ({"if-modified-since": AT}, NOT_MODIFIED),
        ({"if-modified-since": AFTER}, NOT_MODIFIED),
        ({"if-modified-since": BEFORE}, SEND),
        ({"if-modified-since": "never"}, SEND),
        ({"if-modified-since": f"{AT}, {AT}"}, SEND),
        ({"if-none-match": '"other"', "if-modified-since": AFTER}, SEND),
        # A condition that fails wins over one that saves the transfer.
        ({"if-match": '"other"', "if-none-match": '"xyzzy"'}, FAILED),
        ({"if-match": '"xyzzy"', "if-none-match": '"xyzzy"'}, NOT_MODIFIED),
        ({"if-unmodified-since": BEFORE, "if-none-match": '"xyzzy"'}, FAILED),
    ],
)
def test_conditions_are_judged_in_the_rfcs_order(headers: dict[str, str], verdict: Verdict) -> None:
    assert judge(headers, HERE) is verdict


@pytest.mark.parametrize(
    ("if_range", "honoured"),
    [
        (None, True),
        ('"xyzzy"', True),
        (' "xyzzy"', True),
        (AT, True),
        ('W/"xyzzy"', False),
        ('"other"', False),
        (BEFORE, False),
        (AFTER, False),
        ("", False),
        ("xyzzy", False),
        ("*", False),
    ],
)
def test_a_range_holds_only_for_exactly_this_representation(if_range: str | None, honoured: bool) -> None:
    assert honours_range(if_range, HERE) is honoured


@pytest.mark.parametrize(
    ("header", "tags"),
    [
        ('"a"', ['"a"']),
        ('"a","b"', ['"a"', '"b"']),
        (' , "a" ,\t, W/"b,c" ,', ['"a"', 'W/"b,c"']),
        ('""', ['""']),
        ('"a" "b"', []),
        ('"a', []),
        ('w/"a"', []),
        ('"a", b', []),
    ],
)
def test_a_list_of_tags_is_read_whole_or_not_at_all(header: str, tags: list[str]) -> None:
    assert entity_tags(header) == tags


@pytest.mark.parametrize("text", [AT, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"])
def test_all_three_forms_of_a_date_are_read(text: str) -> None:
    assert parse_date(text) == MODIFIED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "784111777",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 25:49:37 GMT",
        "sun, 06 nov 1994 08:49:37 gmt",
        "Sun, 06 Nov 0000 08:49:37 GMT",
    ],
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert parse_date(text) is None


@given(st.integers(min_value=0, max_value=253_402_300_799))
def test_a_date_that_was_sent_is_read_again(seconds: int) -> None:
    assert parse_date(format_date(seconds + 0.75)) == seconds


@given(st.text())
def test_any_text_is_judged(text: str) -> None:
    for name in ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since"):
        assert judge({name: text}, HERE) in Verdict
    assert honours_range(text, HERE) in (True, False)
