"""The detail of a verdict keeps the ends of what was raised and printed, within its bound."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_plane.sandbox.details import detail
from broker_plane.sandbox.ports import MAX_DETAIL_BYTES
from tests.examples import examples


@settings(max_examples=examples(0.3))
@given(st.text(max_size=3000), st.text(max_size=3000))
def test_it_is_never_too_long(raised: str, printed: str) -> None:
    assert len(detail(raised, printed).encode()) <= MAX_DETAIL_BYTES


@pytest.mark.parametrize("letter", ["a", "é", "\N{GRINNING FACE}", "\ud800"])
def test_long_text_keeps_its_end(letter: str) -> None:
    said = detail(letter * 5000 + "the error", letter * 5000 + "the last line")
    assert len(said.encode()) <= MAX_DETAIL_BYTES
    assert "the error\n\nPrinted:\n" in said
    assert said.endswith("the last line")
    assert said.startswith("…")


def test_short_text_is_kept_whole() -> None:
    assert detail("", "") == ""
    assert detail("raised\n", "") == "raised"
    assert detail("", "\nprinted\n") == "printed"
    assert detail("raised", "printed") == "raised\n\nPrinted:\nprinted"
