"""Patterns of strangers: no pattern makes a search slow, and an invalid one is an error that says why."""

from __future__ import annotations

import pytest

from broker_plane.errors import WireError
from broker_plane.reading.patterns import LinePattern

BOMBS = ["(a+)+$", "(a|aa)+$", "(a|a?)+b", "(.*a){20}b", "(x+x+)+y", "^(([a-z])+.)+[A-Z]([a-z])+$", "a*a*a*a*a*a*b"]


@pytest.mark.parametrize("pattern", BOMBS)
def test_a_pattern_that_makes_others_backtrack_takes_linear_time(pattern: str) -> None:
    """Python's re takes longer than the age of the universe for most of these."""
    assert LinePattern(pattern).find(b"a" * 200_000 + b"!" + b"x" * 200_000 + b"!") is None


@pytest.mark.parametrize("pattern", ["(", r"(a)\1", "(?=a)", "(?<!a)b", "a{1001}", "(((a{99}){99}){99})", "[z-a]", "*"])
def test_a_pattern_that_is_refused_says_why(pattern: str) -> None:
    with pytest.raises(WireError, match="RE2"):
        LinePattern(pattern)


@pytest.mark.parametrize("pattern", [r"\pL{300}x", r"(\pL{30}){30}", r"(?i)" + r"[\pL]" * 90])
def test_a_pattern_that_is_large_once_compiled_is_refused(pattern: str) -> None:
    with pytest.raises(WireError, match="too large"):
        LinePattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"\b[\w.+-]+@[\w-]+\.[\w.]+\b",
        r"(?i)error|timeout|refused",
        r"[A-Z]{2,10}-\d{1,6}",
        r"\pL{1,20}",
        r"^\s*def \w+\(",
    ],
)
def test_ordinary_patterns_are_small(pattern: str) -> None:
    LinePattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (r"a\sb", "a\nb a b", (4, 7)),
        (r"[^x]+", "\n\nab", (2, 4)),
        ("^b$", "a\nb\nc", (2, 3)),
        ("(?i)B", "ab", (1, 2)),
        ("é", "caf\u00e9", (3, 5)),
        ("a|b", "xb", (1, 2)),
    ],
)
def test_a_match_stays_within_its_line(pattern: str, text: str, expected: tuple[int, int]) -> None:
    assert LinePattern(pattern).find(text.encode()) == expected
