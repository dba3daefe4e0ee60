"""A time with a unit means the same in a setting, on the command line, in the API and in the argument of a tool."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.runtime import arguments
from broker_plane.units import parse_time
from broker_plane.wire import slips

UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds", "S"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes", "Min"), 60),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours", "H"), 3_600),
    **dict.fromkeys(("d", "day", "days", "Days"), 86_400),
    **dict.fromkeys(("w", "week", "weeks"), 604_800),
}


@given(
    number=st.decimals(min_value=0, max_value=10_000, places=3),
    unit=st.sampled_from(sorted(UNITS)),
    blanks=st.sampled_from(["", " ", "  "]),
)
def test_every_reader_agrees(number: Decimal, unit: str, blanks: str) -> None:
    text, exact = f"{number}{blanks}{unit}", float(number * UNITS[unit])
    assert slips.seconds(text) == slips.seconds(f"'{text}'") == parse_time(text) == exact
    assert type(slips.seconds(text)) is (int if exact.is_integer() else float)
    if 0 < exact <= arguments.LONGEST_SECONDS:
        assert arguments.seconds(text) == exact


@pytest.mark.parametrize("text", ["5 fortnights", "1h 5m", "ten minutes", "1e3s", "nan s", "1" * 60 + "s"])
def test_what_is_no_time_stays_as_it_was_for_the_error_that_follows(text: str) -> None:
    assert slips.seconds(text) == text


@pytest.mark.parametrize(("said", "found"), [(None, None), ("", None), ("null", None), (5, 5), (5.5, 5.5), ("7", "7")])
def test_numbers_and_nothing_are_left_to_the_schema(said: object, found: object) -> None:
    assert slips.seconds(said) == found
