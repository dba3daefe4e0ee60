"""RFC 9110, section 12.5."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.errors import NotAcceptableError
from broker_plane.web.accept import choose_coding, choose_type, takes_identity

JSON, MSGPACK, LINES, CSV = "application/json", "application/msgpack", "application/x-ndjson", "text/csv"
OFFERED = (JSON, MSGPACK, LINES, CSV)


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/msgpack", MSGPACK),
        ("APPLICATION/MsgPack", MSGPACK),
        ("text/*", CSV),
        ("application/*, text/csv", JSON),
        ("application/*;q=0.2, text/csv;q=0.3", CSV),
        ("text/html, application/xml;q=0.9, */*;q=0.8", JSON),
        ("application/json;q=0.5, application/msgpack;q=0.5", JSON),
        ("application/json;q=0.499, application/msgpack;q=0.5", MSGPACK),
        # The most specific range counts, not the heaviest.
        ("*/*, application/json;q=0", MSGPACK),
        ("application/*;q=0, */*;q=0.1", CSV),
        ("text/csv;charset=utf-8;q=0.7, */*;q=0.1", CSV),
        ("text/csv ; q=1.000 , */*;q=0.1", CSV),
        # A weight that is none makes an element that is none.
        ("application/json;q=2, text/csv", CSV),
    ],
)
def test_the_heaviest_offer_is_chosen(header: str | None, chosen: str) -> None:
    assert choose_type(header, OFFERED) == chosen


@pytest.mark.parametrize(
    "header", ["text/html", "image/*", "*/*;q=0", "application/json;q=0", "application/json;q=0.000"]
)
def test_an_asker_who_takes_nothing_that_is_offered_is_told_what_is(header: str) -> None:
    with pytest.raises(NotAcceptableError, match="text/csv"):
        choose_type(header, OFFERED)


def test_parameters_of_an_offer_are_not_compared() -> None:
    assert choose_type("text/plain", ("text/plain; charset=utf-8",)) == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        (None, "identity"),
        ("", "identity"),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("br", "identity"),
        ("*", "zstd"),
        ("zstd;q=0, *", "gzip"),
        ("gzip;q=0", "identity"),
        ("identity, gzip;q=0.5", "identity"),
        ("identity;q=0.5, gzip", "gzip"),
        ("identity;q=0, gzip;q=0.1", "gzip"),
        ("GZIP", "gzip"),
    ],
)
def test_the_heaviest_coding_is_chosen(header: str | None, coding: str) -> None:
    assert choose_coding(header, ("zstd", "gzip")) == coding


@pytest.mark.parametrize("header", ["identity;q=0", "*;q=0", "identity;q=0, br", "gzip;q=0, *;q=0"])
def test_an_asker_who_refuses_every_coding_gets_none(header: str) -> None:
    assert not takes_identity(header)
    with pytest.raises(NotAcceptableError):
        choose_coding(header, ("zstd", "gzip"))


def test_identity_named_wins_over_a_refused_rest() -> None:
    assert takes_identity("*;q=0, identity")
    assert choose_coding("identity;q=0.1, *;q=0", ("zstd", "gzip")) == "identity"


@given(st.text(alphabet="abgzip/*;,q=01.- \t", max_size=60))
def test_any_header_is_answered_or_refused(header: str) -> None:
    for choose, offered in ((choose_type, OFFERED), (choose_coding, ("zstd", "gzip"))):
        with suppress(NotAcceptableError):
            assert choose(header, offered) in (*offered, "identity")
