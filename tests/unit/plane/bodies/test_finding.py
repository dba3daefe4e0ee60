"""Finding the body of a delivery: the store is asked for its meta once, whatever is selected."""

from __future__ import annotations

import pytest

from broker_plane.wire.selector import Selector
from tests.unit.memory import Memory

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("selector", [Selector(), Selector(columns=("n",)), Selector(row_ids=(0, 2))])
async def test_a_body_is_asked_for_once(selector: Selector) -> None:
    plane = Memory([{"n": number} for number in range(3)])
    opened = await plane.deliveries.open(await plane.mint())
    body = await plane.deliveries.find_selected(opened, selector)
    assert body.stored == plane.body
    assert plane.bodies.infos == 1
