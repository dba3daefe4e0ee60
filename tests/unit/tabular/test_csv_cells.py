"""No text in a safe CSV is a formula of a spreadsheet, numbers stay, and the exact CSV stays exact."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.formats.kinds import Format
from broker_plane.formats.text_writers import text_view
from broker_plane.tabular.csv_cells import cell, safe_cell
from broker_plane.tabular.frame import frame_of
from broker_plane.wire.selector import Selector

FORMULAS = (
    *("=1+1", "+1-555-0100", "-1+1", "@SUM(A1)", "=", "-", '=HYPERLINK("http://evil")', "=cmd|' /C calc'!A0"),
    *("\t=1", "\rplain", "\n=1", "\tplain", " =1", "   -2+3", "\u00a0=1", "\u3000@x", "\ufeff=1", "\u200b=1", "\x00=1"),
    *('"=1"', "'=1", "\u201c=1", '" =1', "\u2018-x", "\uff02=1", "\uff1d1+1", "\uff0bA1", "\uff0d1+A1", "\uff20x"),
    *("\ufe661", "\u22121+A1", "-1e5x", "-0x10", "+A1", "-1 ", "--1", "-1/2", "- 1", "-P1D"),
)
PLAIN = (
    *("", "text", "a=1", "1-1", "x@example.com", "-1", "-1.5", "+1", "-1.234,56", "-.5", "+1e-7", "-12%", "'", '"q"'),
    *("2026-01-01", "{}", "(=1)", "1", "\u20131"),
)


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_begins_a_formula_gets_an_apostrophe(text: str) -> None:
    assert safe_cell(text) == f"'{text}"
    assert cell(text) == text


@pytest.mark.parametrize("text", PLAIN)
def test_other_texts_and_numbers_as_text_stay(text: str) -> None:
    assert safe_cell(text) == text


@pytest.mark.parametrize(
    "value", [-1, -(10**25), -1.5, Decimal("-1.5"), True, None, ["=1"], {"=a": "=1"}, b"=1", 10**25]
)
def test_values_that_are_no_text_stay(value: Any) -> None:
    assert safe_cell(value) == cell(value)


def test_what_is_shown_as_text_is_looked_at_as_text() -> None:
    assert safe_cell(timedelta(days=-1)) == "'-P1D"
    assert safe_cell(b"\xfb\xef\xbe") == "'++++"  # base64 of bytes


@given(st.text(alphabet=st.sampled_from("=+-@\t\r\n '\"\uff1d\uff0b1.,eEx\u200b"), max_size=12))
def test_after_an_apostrophe_nothing_is_left_to_evaluate(text: str) -> None:
    shown = safe_cell(text)
    assert shown in (text, f"'{text}")
    if shown == text:
        bare = text.strip(" \t\r\n'\"\u200b")
        assert bare[:1] not in ("=", "@", "\uff1d")
        assert not bare[:1].startswith(("+", "-", "\uff0b")) or not set(bare) - set("+-0123456789.,eE")


@pytest.mark.parametrize(("form", "separator"), [(Format.csv, ","), (Format.tsv, "\t")])
def test_the_command_line_writes_both(form: Format, separator: str) -> None:
    rows = [{"=name": "=1+1", "n": -1, "flag": True}, {"=name": "fine", "n": 2, "flag": False}]

    def written(**options: bool) -> list[list[str]]:
        view = text_view(form, Selector(), columns=list(rows[0]), **options)
        raw = b"".join((view.begin(), *view.pieces(frame_of(rows, 0)), view.end()))
        return list(csv.reader(io.StringIO(raw.decode()), delimiter=separator))

    assert written() == [["=name", "n", "flag"], ["=1+1", "-1", "true"], ["fine", "2", "false"]]
    assert written(csv_safe=True) == [["'=name", "n", "flag"], ["'=1+1", "-1", "true"], ["fine", "2", "false"]]
