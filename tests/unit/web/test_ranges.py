"""RFC 9110, section 14.1.2 and 14.2, and a simple model on random headers."""

from __future__ import annotations

import random

import pytest

from broker_plane.errors import RangeError
from broker_plane.web.ranges import Part, parse_range

SIZE = 10_000


@pytest.mark.parametrize(
    ("header", "part"),
    [
        # The RFC's own examples for a representation of 10,000 bytes.
        ("bytes=0-499", Part(0, 500)),
        ("bytes=500-999", Part(500, 1000)),
        ("bytes=-500", Part(9500, 10_000)),
        ("bytes=9500-", Part(9500, 10_000)),
        ("bytes=0-0,-1", None),
        (" bytes= 0-0, -2 ", None),
        ("bytes=500-700,601-999", None),
        # A last position beyond the end, and a suffix longer than the body, mean the end and the whole.
        ("bytes=9999-20000", Part(9999, 10_000)),
        ("bytes=-20000", Part(0, 10_000)),
        ("bytes=0-" + "9" * 5000, Part(0, 10_000)),
        ("bytes=" + "0" * 5000 + "1-1", Part(1, 2)),
        # Units are case-insensitive; empty list elements count for nothing.
        ("BYTES=1-2", Part(1, 3)),
        ("bytes=,1-2, ,", Part(1, 3)),
    ],
)
def test_a_valid_range_is_the_part_that_the_rfc_says(header: str, part: Part | None) -> None:
    assert parse_range(header, SIZE) == part


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=5-4",
        "bytes=a-b",
        "bytes=1",
        "bytes=--1",
        "bytes=0-1,x",
        "rows=0-1",
        "bytes=0x1-2",
        "bytes=+1-2",
        "bytes=1-2-3",
        "bytes=\u0661-\u0662",
        "bytes 0-1",
        "bytes=1 - 2",
        "bytes=0-1;2-3",
    ],
)
def test_what_is_no_valid_byte_range_is_ignored(header: str | None) -> None:
    assert parse_range(header, SIZE) is None


@pytest.mark.parametrize("header", ["bytes=10000-", "bytes=10000-10001", "bytes=-0", "bytes=20000-,-0"])
def test_a_range_that_touches_nothing_is_refused_with_the_size(header: str) -> None:
    with pytest.raises(RangeError) as refused:
        parse_range(header, SIZE)
    assert refused.value.size == SIZE


def test_the_tail_of_an_empty_body_is_the_whole_of_it() -> None:
    assert parse_range("bytes=-5", 0) is None
    with pytest.raises(RangeError):
        parse_range("bytes=0-", 0)


def test_a_part_names_its_inclusive_end() -> None:
    assert Part(500, 1000).content_range(1234) == "bytes 500-999/1234"


def model(specs: list[str], size: int) -> Part | str | None:
    """What is asked for, found by asking each byte of a small body whether it is."""
    chosen = []
    for spec in specs:
        first, _, last = spec.partition("-")
        if first and last and int(last) < int(first):
            return None
        if first:
            chosen.append([at for at in range(size) if int(first) <= at and (not last or at <= int(last))])
        else:
            chosen.append(list(range(size))[-int(last) :] if int(last) else [])
    if not any(chosen):
        return "416"
    return Part(chosen[0][0], chosen[0][-1] + 1) if len(specs) == 1 else None


def test_10_000_random_headers_agree_with_the_model() -> None:
    rng = random.Random(9110)
    for _ in range(10_000):
        size = rng.randint(1, 40)
        specs = [random_spec(rng) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
        header = "bytes=" + rng.choice([",", ", ", " ,\t"]).join(specs)
        try:
            answer: Part | str | None = parse_range(header, size)
        except RangeError:
            answer = "416"
        assert answer == model(specs, size), (header, size)


def random_spec(rng: random.Random) -> str:
    first, last = str(rng.randint(0, 50)), str(rng.randint(0, 50))
    return rng.choice([f"{first}-{last}", f"{first}-", f"-{last}"])
