"""The texts of the larger tiers, which a descriptor may carry besides the one of SEP-2433."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.errors import WireError
from broker_plane.levels.tiers import tiers_of
from broker_plane.wire.descriptor import Description
from tests.levels.api import describe


def tiers(**fields: Any) -> list[tuple[str, str, tuple[str, ...]]]:
    description = describe("x://a", description={"tier": "high", "text": "A", "examples": ["e"]} | fields).description
    assert isinstance(description, Description)
    return [(each.tier, each.text, each.examples) for each in tiers_of(description)]


def test_a_plain_description_has_one_tier() -> None:
    assert tiers() == [("high", "A", ("e",))]
    assert tiers(tiers=None) == [("high", "A", ("e",))]


def test_larger_tiers_follow_in_order_with_the_examples_of_the_first() -> None:
    offered = {"full": {"text": "C", "examples": ["f"]}, "mid": {"text": "B"}, "huge": {"text": "D"}}
    assert tiers(tiers=offered) == [("high", "A", ("e",)), ("mid", "B", ("e",)), ("full", "C", ("f",))]
    assert tiers(tier="mid", tiers=offered | {"high": {"text": "0"}}) == [("mid", "A", ("e",)), ("full", "C", ("f",))]
    assert tiers(tier="full", tiers=offered) == [("full", "A", ("e",))]


@pytest.mark.parametrize("offered", [[], "mid", {"mid": "B"}, {"mid": {}}, {"full": {"text": 1}}])
def test_malformed_tiers_are_an_error(offered: Any) -> None:
    if not offered:
        assert tiers(tiers=offered) == [("high", "A", ("e",))]
        return
    with pytest.raises(WireError, match=r"description\.tiers"):
        tiers(tiers=offered)
