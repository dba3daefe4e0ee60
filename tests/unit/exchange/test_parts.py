"""Messages in parts, and back-off."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker_plane.exchange.parts import PartJoiner, is_incomplete, part_header, split
from broker_plane.exchange.retries import BackOff


@given(st.binary(max_size=200), st.integers(1, 50), st.integers(0, 5))
def test_what_is_split_is_joined_also_after_a_writer_that_ended_midway(line: bytes, most: int, lost: int) -> None:
    parts = split(line, most)
    headers = [part_header(number, len(parts)) for number in range(1, len(parts) + 1)]
    joiner = PartJoiner(1000)
    for part, header in list(zip(parts, headers, strict=True))[: min(lost, len(parts) - 1)]:
        assert joiner.take(part, header) is None
    joined = [joiner.take(part, header) for part, header in zip(parts, headers, strict=True)]
    assert joined == [None] * (len(parts) - 1) + [line]
    assert [is_incomplete(header) for header in headers] == [True] * (len(parts) - 1) + [False]


def test_parts_that_do_not_follow_one_another_make_no_message() -> None:
    joiner = PartJoiner(1000)
    assert joiner.take(b"a", "1/3") is joiner.take(b"c", "3/3") is joiner.take(b"b", "2/3") is None
    assert joiner.take(b"whole", None) == b"whole"
    for strange in ("0/1", "2/1", "x", "1/0", "1/99999", "-1/2", ""):
        assert joiner.take(b"x", strange) in (None, b"x")
    assert PartJoiner(3).take(b"four", None) is None
    small = PartJoiner(3)
    assert [small.take(b"ab", "1/2"), small.take(b"cd", "2/2")] == [None, None]


def test_waits_double_up_to_a_limit_with_jitter_from_outside() -> None:
    waits = BackOff(first_seconds=1, longest_seconds=10, jitter=0.5)
    assert [waits.seconds_after(attempt) for attempt in range(6)] == [1, 1, 2, 4, 8, 10]
    assert waits.seconds_after(1, spread=1.0) == 1.5
    assert waits.seconds_after(10**9) == 10
