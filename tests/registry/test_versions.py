"""Semantic versions are ordered as SemVer 2.0.0 says, and ranges contain what npm's do."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.errors import RegistryError
from broker_plane.registry.versions import SemanticVersion, is_version, newest, parse_range, parse_version

ORDERED = (
    # The example of section 11 of SemVer 2.0.0.
    *("1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1"),
    *("1.0.0", "1.0.1-0", "1.0.1-9", "1.0.1-10", "1.0.1--", "1.0.1-a", "1.0.1", "1.9.0", "1.10.0", "2.0.0", "10.0.0"),
)
INVALID = (
    *(
        "",
        "1",
        "1.2",
        "v1.2.3",
        "1.2.3.4",
        "01.2.3",
        "1.02.3",
        "1.2.3-01",
        "1.2.3-",
        "1.2.3-a..b",
        "1.2.3+",
        "1.2.3+a..b",
    ),
    *("1.2.3\n", " 1.2.3", "1.2.3 ", "-1.2.3", "1.2.x", "१.2.3", "1.2.3-ä", "1.2.3+" + "a" * 64),
)


def test_versions_are_in_the_order_of_the_standard() -> None:
    for lower, higher in itertools.combinations(ORDERED, 2):
        assert parse_version(lower).precedence < parse_version(higher).precedence, (lower, higher)


def test_build_metadata_does_not_count() -> None:
    assert parse_version("1.0.0+a").precedence == parse_version("1.0.0+b.2").precedence
    assert parse_version("1.0.0+a") != parse_version("1.0.0+b")


@pytest.mark.parametrize("text", INVALID)
def test_anything_else_is_refused(text: str) -> None:
    assert not is_version(text)
    with pytest.raises(RegistryError, match="semantic version"):
        parse_version(text)


@given(st.tuples(*[st.integers(0, 10**6)] * 3), st.lists(st.from_regex(r"[1-9][0-9]{0,4}|[a-z-]{1,5}", fullmatch=True)))
def test_a_version_is_its_text(core: tuple[int, int, int], pre: list[str]) -> None:
    version = SemanticVersion(*core, tuple(pre[:5]))
    assert parse_version(str(version)) == version


@pytest.mark.parametrize(
    ("range_text", "inside", "outside"),
    [
        ("^1.2", "1.2.0 1.10.0 1.99.99", "1.1.9 2.0.0 2.0.0-rc.1 1.3.0-rc.1"),
        ("^1", "1.0.0 1.9.9", "0.9.9 2.0.0"),
        ("^0.2.3", "0.2.3 0.2.9", "0.2.2 0.3.0"),
        ("^0.0.3", "0.0.3", "0.0.4"),
        ("^0.0", "0.0.9", "0.1.0"),
        ("^0", "0.9.0", "1.0.0"),
        ("^1.2.0-rc.1", "1.2.0-rc.2 1.2.0 1.4.0", "1.2.0-beta 1.3.0-rc.9"),
        ("~1.2.3", "1.2.3 1.2.9", "1.2.2 1.3.0"),
        ("~1", "1.0.0 1.9.0", "2.0.0"),
        ("1.2", "1.2.0 1.2.9", "1.3.0"),
        ("1.2.3", "1.2.3 1.2.3+build", "1.2.4"),
        (">=1.2 <2", "1.2.0 1.99.0", "1.1.0 2.0.0 2.0.0-rc.1"),
        (">1.2", "1.3.0", "1.2.9"),
        ("<=1.2", "1.2.9 0.1.0", "1.3.0"),
        ("*", "0.0.1 99.0.0", "1.0.0-rc.1"),
        (" >= 1.0.0 ", "1.0.0", "0.9.0"),
    ],
)
def test_a_range_contains(range_text: str, inside: str, outside: str) -> None:
    found = parse_range(range_text)
    assert [text for text in inside.split() if parse_version(text) not in found] == []
    assert [text for text in outside.split() if parse_version(text) in found] == []


@pytest.mark.parametrize("text", ["latest", "^x", "1.2.3.4", ">=", "1.2 || 2", "^1.2," + "1" * 300])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(RegistryError):
        parse_range(text)


def test_the_newest_is_a_release_if_there_is_one() -> None:
    versions = [parse_version(text) for text in ("1.9.0", "1.10.0", "2.0.0-rc.1")]
    assert str(newest(versions)) == "1.10.0"
    assert str(newest(versions[2:])) == "2.0.0-rc.1"
    assert newest([]) is None
